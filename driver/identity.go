package driver

import (
	"cmp"
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// GetPluginInfo implements csi.IdentityServer.
func (d *Driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: d.config.Name, VendorVersion: cmp.Or(d.config.Version, "unknown")}, nil
}

// GetPluginCapabilities implements csi.IdentityServer.
func (d *Driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(t csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}}}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_GROUP_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// Probe implements csi.IdentityServer. While none of its pools is there the driver is not
// ready, which is no error: sidecars then wait for it, where an error would have the
// driver restarted again and again, and no restart brings a pool back. Where one of
// several is away, the volumes of the others are to be served. It starts
// one or two ZFS commands; once in ten seconds is often enough.
func (d *Driver) Probe(ctx context.Context, _ *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	some, err := ask(ctx, d, d.store.Check)
	switch status.Code(err) {
	case codes.OK:
		return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
	case codes.Unavailable:
		d.config.Log.WarnContext(ctx, "not all parents can be used", "ready", some, "error", err)
		return &csi.ProbeResponse{Ready: wrapperspb.Bool(some)}, nil
	case codes.DeadlineExceeded, codes.Canceled:
		return nil, err
	default:
		return nil, status.Error(codes.FailedPrecondition, status.Convert(err).Message())
	}
}
