"""Field numbers of the types that typed clients send as protobuf: names in the order of their numbers.

A string lists the fields from number 1 on; `-` skips a number, `(x` is a struct that JSON has inlined, of the type
named after it. What is not listed here is refused with 415, never dropped.

Upstream: the generated.proto beside each API group (k8s.io/api/*/generated.proto).
"""

from __future__ import annotations

_OBJECT = "metadata spec status"

NUMBERS: dict[str, str] = {
    "meta.v1.ObjectMeta": "name generateName namespace selfLink uid resourceVersion generation creationTimestamp "
    "deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers - - managedFields",
    "meta.v1.OwnerReference": "kind - name uid apiVersion controller blockOwnerDeletion",
    "meta.v1.ManagedFieldsEntry": "manager operation apiVersion time - fieldsType fieldsV1 subresource",
    "meta.v1.LabelSelector": "matchLabels matchExpressions",
    "meta.v1.LabelSelectorRequirement": "key operator values",
    "meta.v1.DeleteOptions": "gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun",
    "meta.v1.Preconditions": "uid resourceVersion",
    # ---- core
    "core.v1.Binding": "metadata target",
    "core.v1.ConfigMap": "metadata data binaryData immutable",
    "core.v1.Container": "name image command args workingDir ports env resources volumeMounts livenessProbe "
    "readinessProbe lifecycle terminationMessagePath imagePullPolicy securityContext stdin stdinOnce tty envFrom "
    "terminationMessagePolicy volumeDevices startupProbe resizePolicy restartPolicy",
    "core.v1.ContainerPort": "name hostPort containerPort protocol hostIP",
    "core.v1.EnvVar": "name value valueFrom",
    "core.v1.Event": "metadata involvedObject reason message source firstTimestamp lastTimestamp count type eventTime "
    "series action related reportingComponent reportingInstance",
    "core.v1.EventSeries": "count lastObservedTime",
    "core.v1.EventSource": "component host",
    "core.v1.LocalObjectReference": "name",
    "core.v1.Namespace": _OBJECT,
    "core.v1.NamespaceSpec": "finalizers",
    "core.v1.NamespaceStatus": "phase conditions",
    "core.v1.ObjectReference": "kind namespace name uid apiVersion resourceVersion fieldPath",
    "core.v1.Pod": _OBJECT,
    "core.v1.PodSpec": "volumes containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
    "nodeSelector serviceAccountName serviceAccount nodeName hostNetwork hostPID hostIPC securityContext "
    "imagePullSecrets hostname subdomain affinity schedulerName initContainers automountServiceAccountToken "
    "tolerations hostAliases priorityClassName priority dnsConfig shareProcessNamespace readinessGates "
    "runtimeClassName enableServiceLinks preemptionPolicy overhead topologySpreadConstraints ephemeralContainers "
    "setHostnameAsFQDN os hostUsers schedulingGates resourceClaims resources",
    "core.v1.PodStatus": "phase conditions message reason hostIP podIP startTime containerStatuses qosClass "
    "initContainerStatuses nominatedNodeName podIPs ephemeralContainerStatuses resize resourceClaimStatuses hostIPs",
    "core.v1.PodTemplateSpec": "metadata spec",
    "core.v1.ResourceQuota": _OBJECT,
    "core.v1.ResourceQuotaSpec": "hard scopes scopeSelector",
    "core.v1.ResourceQuotaStatus": "hard used",
    "core.v1.ResourceRequirements": "limits requests claims",
    "core.v1.Secret": "metadata data type stringData immutable",
    "core.v1.Service": _OBJECT,
    "core.v1.ServiceAccount": "metadata secrets imagePullSecrets automountServiceAccountToken",
    "core.v1.ServicePort": "name protocol port targetPort nodePort appProtocol",
    "core.v1.ServiceSpec": "ports selector clusterIP type externalIPs - sessionAffinity loadBalancerIP "
    "loadBalancerSourceRanges externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses "
    "sessionAffinityConfig - - ipFamilyPolicy clusterIPs ipFamilies allocateLoadBalancerNodePorts loadBalancerClass "
    "internalTrafficPolicy trafficDistribution",
    "core.v1.ServiceStatus": "loadBalancer conditions",
    "core.v1.LoadBalancerStatus": "ingress",
    "core.v1.Toleration": "key operator value effect tolerationSeconds",
    "core.v1.PodSecurityContext": "seLinuxOptions runAsUser runAsNonRoot supplementalGroups fsGroup runAsGroup sysctls "
    "windowsOptions fsGroupChangePolicy seccompProfile appArmorProfile supplementalGroupsPolicy",
    # ---- apps, batch
    "apps.v1.Deployment": _OBJECT,
    "apps.v1.DeploymentSpec": "replicas selector template strategy minReadySeconds revisionHistoryLimit paused - "
    "progressDeadlineSeconds",
    "apps.v1.DeploymentStatus": "observedGeneration replicas updatedReplicas availableReplicas unavailableReplicas "
    "conditions readyReplicas collisionCount terminatingReplicas",
    "apps.v1.DeploymentStrategy": "type rollingUpdate",
    "apps.v1.RollingUpdateDeployment": "maxUnavailable maxSurge",
    "batch.v1.CronJob": _OBJECT,
    "batch.v1.CronJobSpec": "schedule startingDeadlineSeconds concurrencyPolicy suspend jobTemplate "
    "successfulJobsHistoryLimit failedJobsHistoryLimit timeZone",
    "batch.v1.CronJobStatus": "active - - lastScheduleTime lastSuccessfulTime",
    "batch.v1.Job": _OBJECT,
    "batch.v1.JobSpec": "parallelism completions activeDeadlineSeconds selector manualSelector template backoffLimit "
    "ttlSecondsAfterFinished completionMode suspend podFailurePolicy backoffLimitPerIndex maxFailedIndexes "
    "podReplacementPolicy managedBy successPolicy",
    "batch.v1.JobStatus": "conditions startTime completionTime active succeeded failed completedIndexes "
    "uncountedTerminatedPods ready failedIndexes terminating",
    "batch.v1.JobTemplateSpec": "metadata spec",
    # ---- others
    "authentication.v1.BoundObjectReference": "kind apiVersion name uid",
    "authentication.v1.SelfSubjectReview": "metadata status",
    "authentication.v1.SelfSubjectReviewStatus": "userInfo",
    "authentication.v1.UserInfo": "username uid groups extra",
    "authentication.v1.TokenRequest": _OBJECT,
    "authentication.v1.TokenRequestSpec": "audiences - boundObjectRef expirationSeconds",
    "authentication.v1.TokenRequestStatus": "token expirationTimestamp",
    "authentication.v1.TokenReview": _OBJECT,
    "authentication.v1.TokenReviewSpec": "token audiences",
    "authentication.v1.TokenReviewStatus": "authenticated user error audiences",
    "authorization.v1.NonResourceAttributes": "path verb",
    "authorization.v1.ResourceAttributes": "namespace verb group version resource subresource name fieldSelector "
    "labelSelector",
    "authorization.v1.SelfSubjectAccessReview": _OBJECT,
    "authorization.v1.SelfSubjectAccessReviewSpec": "resourceAttributes nonResourceAttributes",
    "authorization.v1.SelfSubjectRulesReview": _OBJECT,
    "authorization.v1.SelfSubjectRulesReviewSpec": "namespace",
    "authorization.v1.SubjectRulesReviewStatus": "resourceRules nonResourceRules incomplete evaluationError",
    "authorization.v1.SubjectAccessReviewStatus": "allowed reason evaluationError denied",
    "coordination.v1.Lease": "metadata spec",
    "coordination.v1.LeaseSpec": "holderIdentity leaseDurationSeconds acquireTime renewTime leaseTransitions strategy "
    "preferredHolder",
    "events.v1.Event": "metadata eventTime series reportingController reportingInstance action reason regarding "
    "related note type deprecatedSource deprecatedFirstTimestamp deprecatedLastTimestamp deprecatedCount",
    "events.v1.EventSeries": "count lastObservedTime",
    "networking.v1.HTTPIngressPath": "path backend pathType",
    "networking.v1.HTTPIngressRuleValue": "paths",
    "networking.v1.Ingress": _OBJECT,
    "networking.v1.IngressBackend": "- - resource service",
    "networking.v1.IngressLoadBalancerStatus": "ingress",
    "networking.v1.IngressRule": "host (networking.v1.IngressRuleValue",
    "networking.v1.IngressRuleValue": "http",
    "networking.v1.IngressServiceBackend": "name port",
    "networking.v1.IngressSpec": "defaultBackend tls rules ingressClassName",
    "networking.v1.IngressStatus": "loadBalancer",
    "networking.v1.IngressTLS": "hosts secretName",
    "networking.v1.ServiceBackendPort": "name number",
    "policy.v1.Eviction": "metadata deleteOptions",
    "policy.v1.PodDisruptionBudget": _OBJECT,
    "policy.v1.PodDisruptionBudgetSpec": "minAvailable selector maxUnavailable unhealthyPodEvictionPolicy",
    "policy.v1.PodDisruptionBudgetStatus": "observedGeneration disruptedPods disruptionsAllowed currentHealthy "
    "desiredHealthy expectedPods conditions",
    "rbac.v1.AggregationRule": "clusterRoleSelectors",
    "rbac.v1.ClusterRole": "metadata rules aggregationRule",
    "rbac.v1.ClusterRoleBinding": "metadata subjects roleRef",
    "rbac.v1.PolicyRule": "verbs apiGroups resources resourceNames nonResourceURLs",
    "rbac.v1.Role": "metadata rules",
    "rbac.v1.RoleBinding": "metadata subjects roleRef",
    "rbac.v1.RoleRef": "apiGroup kind name",
    "rbac.v1.Subject": "kind apiGroup name namespace",
    "scheduling.v1.PriorityClass": "metadata value globalDefault description preemptionPolicy",
}
