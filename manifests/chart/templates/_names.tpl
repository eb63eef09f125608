{{- define "zfs-csi.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's objects. */}}
{{- define "zfs-csi.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "zfs-csi.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "zfs-csi.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What the pods of the DaemonSet have, and no other pod of the release: a DaemonSet takes every pod with its labels for its own. */}}
{{- define "zfs-csi.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zfs-csi.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "zfs-csi.labels" -}}
app.kubernetes.io/name: {{ include "zfs-csi.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The metadata of a cluster's class. Takes the list of the root and the class's values. */}}
{{- define "zfs-csi.class" -}}
{{- $root := index . 0 }}{{- $class := index . 1 -}}
name: {{ $class.name }}
labels:
  {{- include "zfs-csi.labels" $root | nindent 2 }}
  {{- with $class.labels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{/* Takes the list of an image's values and the tag to use where they have none. */}}
{{- define "zfs-csi.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{/* All parents, with commas; the first is the default, and the last is in the pool that is kept in a file. */}}
{{- define "zfs-csi.parents" -}}
{{- $parents := .Values.parents }}
{{- if .Values.pool.file.enabled }}
{{- $pool := .Values.pool.file.name }}
{{- range $parents }}
{{- if eq (splitList "/" . | first) $pool }}
{{- fail (printf "\n\nThe parent %s is in a pool named %s, and so is the pool in the file to be. Is that pool there? Then do without the file:\n    --set pool.file.enabled=false\nor give the pool in the file another name:\n    --set pool.file.name=NAME" . $pool) }}
{{- end }}
{{- end }}
{{- $parents = append $parents (printf "%s/csi" $pool) }}
{{- $nodes := (lookup "v1" "Node" "" "").items | default list }}
{{- if and (gt (len $nodes) 1) (not .Values.distributed) (not .Values.nodeSelector) (not .Values.affinity) }}
{{- fail (printf "\n\nThis cluster has %d nodes, and a pool would be made in a file on each of them. Choose one node:\n    --set nodeSelector.kubernetes\\.io/hostname=NODE\nor read in the chart's README what changes with several, and then:\n    --set distributed=true" (len $nodes)) }}
{{- end }}
{{- end }}
{{- if not $parents }}
{{- fail "\n\nWhere are the volumes to be kept? Name a dataset on a pool of the nodes:\n    --set 'parents={tank/csi}'\nor have a pool made in a file on each node, for a trial:\n    --set pool.file.enabled=true" }}
{{- end }}
{{- join "," ($parents | uniq) }}
{{- end }}

{{/* The name of a lease of leader election, as the sidecars make it of the driver's. */}}
{{- define "zfs-csi.lease" -}}
{{- regexReplaceAll "[^a-zA-Z0-9-]" . "-" }}
{{- end }}
