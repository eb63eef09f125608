package driver

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// intercept runs a call, turns its panic or error into a gRPC status, and logs it once.
func (d *Driver) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	start := time.Now()
	err = toStatus(d.guard(ctx, func() error {
		resp, err = handler(ctx, req)
		return err
	}))
	attributes := []any{"method", info.FullMethod, "code", status.Code(err).String(), "duration", time.Since(start)}
	if m, ok := req.(proto.Message); ok {
		attributes = append(attributes, "request", withoutSecrets{m})
	}
	if err != nil {
		attributes = append(attributes, "error", status.Convert(err).Message())
	}
	d.config.Log.Log(ctx, level(info.FullMethod, status.Code(err)), "call", attributes...)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// level returns how much a call matters to those who read the log. What orchestrators
// ask every few seconds, and is well, matters least.
func level(method string, code codes.Code) slog.Level {
	switch code {
	case codes.OK:
		if strings.HasSuffix(method, "/Probe") || strings.Contains(method, "Get") {
			return slog.LevelDebug
		}
		return slog.LevelInfo
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return slog.LevelError
	default:
		return slog.LevelWarn
	}
}

// withoutSecrets is a message as it is logged: the fields that the specification
// marks with csi_secret left out.
type withoutSecrets struct{ proto.Message }

// LogValue implements slog.LogValuer, so that nothing is done for lines that are not written.
func (m withoutSecrets) LogValue() slog.Value {
	c := proto.Clone(m.Message)
	clearSecrets(c.ProtoReflect())
	text, err := protojson.Marshal(c)
	if err != nil {
		return slog.StringValue(err.Error())
	}
	return slog.AnyValue(json.RawMessage(text))
}

// clearSecrets empties the secret fields of m and of all the messages in it.
func clearSecrets(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		secret, _ := proto.GetExtension(f.Options(), csi.E_CsiSecret).(bool)
		switch {
		case secret:
			m.Clear(f)
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				clearSecrets(v.Message())
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				clearSecrets(v.List().Get(i).Message())
			}
		case !f.IsMap() && f.Message() != nil:
			clearSecrets(v.Message())
		}
		return true
	})
}
