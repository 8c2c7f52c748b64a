{{- define "kloister.image" -}}
image: {{ printf "%skloister-%s:%s" .root.Values.images.registry .name .root.Values.images.tag }}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
{{- end }}

{{- define "kloister.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kloister.restricted" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{- define "kloister.broker" -}}
{{- if .Values.broker.enabled }}kloister-broker.{{ .Release.Namespace }}.svc:7443{{ else }}{{ .Values.broker.address }}{{ end }}
{{- end }}

{{- /* sizes as the platform wants them, in MiB: 32Gi,32Gi -> 32768,32768 */}}
{{- define "kloister.mib" -}}
{{- $sizes := list }}
{{- range splitList "," . }}
{{- $number := regexFind "^[0-9]+" . | int64 }}
{{- $sizes = append $sizes (ternary (mul $number 1024) (ternary $number (div $number 1048576) (hasSuffix "Mi" .)) (hasSuffix "Gi" .)) }}
{{- end }}
{{- join "," $sizes }}
{{- end }}
