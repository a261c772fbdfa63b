{{/* Labels of every object. The first is what selects pods, as in base/. */}}
{{- define "shunt.labels" -}}
app.kubernetes.io/name: shunt
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* An object of base/, with its namespace and labels. */}}
{{- define "shunt.object" -}}
{{- $labels := include "shunt.labels" .root | fromYaml -}}
{{- $own := dict "namespace" .root.Release.Namespace "labels" $labels -}}
{{- toYaml (set .object "metadata" (mergeOverwrite .object.metadata $own)) -}}
{{- end }}

{{/* A value as TOML has it: of strings, numbers and lists of them that is JSON. */}}
{{- define "shunt.toml" -}}
{{- range $key, $value := .Values.config }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $section, $rules := pick .Values.config "include" "exclude" }}
{{- if $rules }}

[{{ $section }}]
{{- range $kind, $all := $rules }}
{{ $kind }} = {{ toJson $all }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
