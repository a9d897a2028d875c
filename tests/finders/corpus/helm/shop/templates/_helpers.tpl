{{/*
image: commented/out:1
*/}}
{{- define "shop.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- define "shop.waiter" -}}
- name: wait
  image: {{ .Values.waitFor.image }}
{{- end -}}
