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

{{/* The environment of the driver: every zfs-csi command that is run in its container finds the same settings in it. */}}
{{- define "zfs-csi.environment" -}}
- name: ZFS_CSI_DRIVER_NAME
  value: {{ .Values.driverName }}
- name: ZFS_CSI_PARENT
  value: {{ include "zfs-csi.parents" . }}
- name: ZFS_CSI_NODE_ID
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: ZFS_CSI_KUBELET_DIR
  value: {{ .Values.kubeletDir }}
{{- if .Values.hostTools }}
- name: ZFS_CSI_HOST_ROOT
  value: /host
{{- end }}
- name: ZFS_CSI_LOG_LEVEL
  value: {{ .Values.driver.log.level }}
- name: ZFS_CSI_LOG_FORMAT
  value: {{ .Values.driver.log.format }}
{{- end }}

{{/* What both containers of the driver's image see of the node. */}}
{{- define "zfs-csi.node" -}}
# /dev/zfs, and the devices of zvols, which come while it runs.
- name: dev
  mountPath: /dev
{{- if .Values.pool.file.enabled }}
- name: pool
  mountPath: {{ dir .Values.pool.file.path }}
{{- end }}
{{- if .Values.hostTools }}
- name: root
  mountPath: /host
  mountPropagation: HostToContainer
{{- end }}
{{- end }}
