{{/* How every sidecar is held: root, because the driver's socket is root's alone, but with no power that root has. */}}
{{- define "zfs-csi.sidecar" -}}
securityContext:
  runAsUser: 0
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  # Where SELinux is enforced: the socket is that of a privileged container.
  seLinuxOptions:
    type: spc_t
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: socket
    mountPath: /csi
  - name: token
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
{{- end }}
