"""What upstream's Go types know and its published schemas do not: pointers, values, and fields that are always written.

A Go round trip is what decides which zero values an object keeps. An optional field is written like this:

- a plain scalar with `omitempty` vanishes when it is zero: the rule for every scalar not listed here;
- a pointer (`POINTERS`) keeps the zero that was sent;
- a field without `omitempty` (`EMITTED`, and every required field) is written even when nothing was sent: a scalar as
  its zero, a list or map as null;
- a struct is a pointer unless listed in `VALUES`: a value is written as `{}` (a Quantity as `"0"`, a Time as null) when
  nothing was sent.

`metadata`, `spec` and `status` of a kind, and times of conditions, are values everywhere, so they are not listed.
Names are `package.version.Type`; `tools/build_schema.py` joins this with the schemas.

Upstream: the types.go files of k8s.io/api, apimachinery, apiextensions-apiserver and kube-aggregator.
"""

from __future__ import annotations

# Optional scalars behind a pointer.
POINTERS: dict[str, str] = {
    # ---- meta
    "meta.v1.ObjectMeta": "deletionGracePeriodSeconds",
    "meta.v1.OwnerReference": "blockOwnerDeletion controller",
    "meta.v1.ListMeta": "remainingItemCount",
    "meta.v1.DeleteOptions": "gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential orphanDependents "
    "propagationPolicy",
    "meta.v1.Preconditions": "resourceVersion uid",
    # ---- core: volumes
    "core.v1.AppArmorProfile": "localhostProfile",
    "core.v1.AzureDiskVolumeSource": "cachingMode fsType kind readOnly",
    "core.v1.AzureFilePersistentVolumeSource": "secretNamespace",
    "core.v1.CSIVolumeSource": "fsType readOnly",
    "core.v1.ClusterTrustBundleProjection": "name optional signerName",
    "core.v1.ConfigMapProjection": "optional",
    "core.v1.ConfigMapVolumeSource": "defaultMode optional",
    "core.v1.DownwardAPIVolumeFile": "mode",
    "core.v1.DownwardAPIVolumeSource": "defaultMode",
    "core.v1.FCVolumeSource": "lun",
    "core.v1.GlusterfsPersistentVolumeSource": "endpointsNamespace",
    "core.v1.HostPathVolumeSource": "type",
    "core.v1.ISCSIPersistentVolumeSource": "initiatorName",
    "core.v1.ISCSIVolumeSource": "initiatorName",
    "core.v1.KeyToPath": "mode",
    "core.v1.LocalVolumeSource": "fsType",
    "core.v1.PodCertificateProjection": "maxExpirationSeconds",
    "core.v1.ProjectedVolumeSource": "defaultMode",
    "core.v1.SecretProjection": "optional",
    "core.v1.SecretVolumeSource": "defaultMode optional",
    "core.v1.ServiceAccountTokenProjection": "expirationSeconds",
    "core.v1.VolumeMount": "mountPropagation recursiveReadOnly",
    "core.v1.VolumeMountStatus": "recursiveReadOnly",
    "core.v1.PersistentVolumeClaimSpec": "storageClassName volumeAttributesClassName volumeMode",
    "core.v1.PersistentVolumeClaimStatus": "currentVolumeAttributesClassName",
    "core.v1.PersistentVolumeSpec": "volumeAttributesClassName volumeMode",
    # ---- core: pods
    "core.v1.ConfigMapEnvSource": "optional",
    "core.v1.ConfigMapKeySelector": "optional",
    "core.v1.Container": "restartPolicy",
    "core.v1.ContainerStatus": "started stopSignal",
    "core.v1.EphemeralContainer": "restartPolicy",
    "core.v1.FileKeySelector": "optional",
    "core.v1.GRPCAction": "service",
    "core.v1.Lifecycle": "stopSignal",
    "core.v1.PodDNSConfigOption": "value",
    "core.v1.PodResourceClaim": "resourceClaimName resourceClaimTemplateName",
    "core.v1.PodResourceClaimStatus": "resourceClaimName",
    "core.v1.PodSchedulingGroup": "podGroupName",
    "core.v1.PodSecurityContext": "fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser "
    "seLinuxChangePolicy supplementalGroupsPolicy",
    "core.v1.PodSpec": "activeDeadlineSeconds automountServiceAccountToken enableServiceLinks hostUsers "
    "hostnameOverride preemptionPolicy priority runtimeClassName setHostnameAsFQDN shareProcessNamespace "
    "terminationGracePeriodSeconds",
    "core.v1.Probe": "terminationGracePeriodSeconds",
    "core.v1.SeccompProfile": "localhostProfile",
    "core.v1.SecretEnvSource": "optional",
    "core.v1.SecretKeySelector": "optional",
    "core.v1.SecurityContext": "allowPrivilegeEscalation privileged procMount readOnlyRootFilesystem runAsGroup "
    "runAsNonRoot runAsUser",
    "core.v1.Toleration": "tolerationSeconds",
    "core.v1.TopologySpreadConstraint": "minDomains nodeAffinityPolicy nodeTaintsPolicy",
    "core.v1.WindowsSecurityContextOptions": "gmsaCredentialSpec gmsaCredentialSpecName hostProcess runAsUserName",
    # ---- core: the rest
    "core.v1.ClientIPConfig": "timeoutSeconds",
    "core.v1.ConfigMap": "immutable",
    "core.v1.EndpointAddress": "nodeName",
    "core.v1.EndpointPort": "appProtocol",
    "core.v1.LoadBalancerIngress": "ipMode",
    "core.v1.NodeFeatures": "supplementalGroupsPolicy",
    "core.v1.NodeRuntimeHandlerFeatures": "recursiveReadOnlyMounts userNamespaces",
    "core.v1.NodeSwapStatus": "capacity",
    "core.v1.PortStatus": "error",
    "core.v1.ReplicationControllerSpec": "replicas",
    "core.v1.Secret": "immutable",
    "core.v1.ServiceAccount": "automountServiceAccountToken",
    "core.v1.ServicePort": "appProtocol",
    "core.v1.ServiceSpec": "allocateLoadBalancerNodePorts internalTrafficPolicy ipFamilyPolicy loadBalancerClass "
    "trafficDistribution",
    "core.v1.TypedLocalObjectReference": "apiGroup",
    "core.v1.TypedObjectReference": "apiGroup namespace",
    # ---- apps, batch, autoscaling
    "apps.v1.DaemonSetSpec": "revisionHistoryLimit",
    "apps.v1.DaemonSetStatus": "collisionCount",
    "apps.v1.DeploymentSpec": "progressDeadlineSeconds replicas revisionHistoryLimit",
    "apps.v1.DeploymentStatus": "collisionCount terminatingReplicas",
    "apps.v1.ReplicaSetSpec": "replicas",
    "apps.v1.ReplicaSetStatus": "terminatingReplicas",
    "apps.v1.RollingUpdateStatefulSetStrategy": "partition",
    "apps.v1.StatefulSetSpec": "replicas revisionHistoryLimit",
    "apps.v1.StatefulSetStatus": "collisionCount",
    "batch.v1.CronJobSpec": "failedJobsHistoryLimit startingDeadlineSeconds successfulJobsHistoryLimit suspend "
    "timeZone",
    "batch.v1.JobSpec": "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completionMode completions "
    "managedBy manualSelector maxFailedIndexes parallelism podReplacementPolicy suspend ttlSecondsAfterFinished",
    "batch.v1.JobStatus": "failedIndexes ready terminating",
    "batch.v1.PodFailurePolicyOnExitCodesRequirement": "containerName",
    "batch.v1.SuccessPolicyRule": "succeededCount succeededIndexes",
    "autoscaling.v1.HorizontalPodAutoscalerSpec": "minReplicas targetCPUUtilizationPercentage",
    "autoscaling.v1.HorizontalPodAutoscalerStatus": "currentCPUUtilizationPercentage observedGeneration",
    "autoscaling.v2.HPAScalingRules": "selectPolicy stabilizationWindowSeconds",
    "autoscaling.v2.HorizontalPodAutoscalerSpec": "minReplicas",
    "autoscaling.v2.HorizontalPodAutoscalerStatus": "observedGeneration",
    "autoscaling.v2.MetricTarget": "averageUtilization",
    "autoscaling.v2.MetricValueStatus": "averageUtilization",
    # ---- networking, discovery, policy, coordination, node
    "networking.v1.IngressClassParametersReference": "apiGroup namespace scope",
    "networking.v1.IngressPortStatus": "error",
    "networking.v1.IngressSpec": "ingressClassName",
    "networking.v1.NetworkPolicyPort": "endPort protocol",
    "discovery.v1.Endpoint": "hostname nodeName zone",
    "discovery.v1.EndpointConditions": "ready serving terminating",
    "discovery.v1.EndpointPort": "appProtocol name port protocol",
    "policy.v1.PodDisruptionBudgetSpec": "unhealthyPodEvictionPolicy",
    "coordination.v1.LeaseSpec": "holderIdentity leaseDurationSeconds leaseTransitions preferredHolder strategy",
    # ---- authentication, authorization, certificates, flow control
    "authentication.v1.TokenRequestSpec": "expirationSeconds",
    "certificates.v1.CertificateSigningRequestSpec": "expirationSeconds",
    "flowcontrol.v1.ExemptPriorityLevelConfiguration": "lendablePercent nominalConcurrencyShares",
    "flowcontrol.v1.LimitedPriorityLevelConfiguration": "borrowingLimitPercent lendablePercent "
    "nominalConcurrencyShares",
    # ---- storage, scheduling, resource
    "scheduling.v1.PriorityClass": "preemptionPolicy",
    "storage.v1.CSIDriverSpec": "attachRequired fsGroupPolicy nodeAllocatableUpdatePeriodSeconds podInfoOnMount "
    "preventPodSchedulingIfMissing requiresRepublish seLinuxMount serviceAccountTokenInSecrets storageCapacity",
    "storage.v1.StorageClass": "allowVolumeExpansion reclaimPolicy volumeBindingMode",
    "storage.v1.TokenRequest": "expirationSeconds",
    "storage.v1.VolumeAttachmentSource": "persistentVolumeName",
    "storage.v1.VolumeError": "errorCode",
    "storage.v1.VolumeNodeResources": "count",
    "resource.v1.AllocatedDeviceStatus": "shareID",
    "resource.v1.Device": "allNodes allowMultipleAllocations bindsToNode nodeName",
    "resource.v1.DeviceAttribute": "bool int string version",
    "resource.v1.DeviceClassSpec": "extendedResourceName",
    "resource.v1.DeviceConstraint": "distinctAttribute matchAttribute",
    "resource.v1.DeviceRequestAllocationResult": "adminAccess shareID",
    "resource.v1.DeviceToleration": "tolerationSeconds",
    "resource.v1.ExactDeviceRequest": "adminAccess",
    "resource.v1.NodeAllocatableResourceMapping": "capacityKey",
    "resource.v1.ResourceSliceSpec": "allNodes nodeName perDeviceNodeSelection",
    # ---- admission registration, CRDs, aggregation
    "admissionregistration.v1.MatchResources": "matchPolicy",
    "admissionregistration.v1.MutatingAdmissionPolicySpec": "failurePolicy",
    "admissionregistration.v1.MutatingWebhook": "failurePolicy matchPolicy reinvocationPolicy timeoutSeconds",
    "admissionregistration.v1.NamedRuleWithOperations": "scope",
    "admissionregistration.v1.ParamRef": "parameterNotFoundAction",
    "admissionregistration.v1.RuleWithOperations": "scope",
    "admissionregistration.v1.ServiceReference": "path port",
    "admissionregistration.v1.ValidatingAdmissionPolicySpec": "failurePolicy",
    "admissionregistration.v1.ValidatingWebhook": "failurePolicy matchPolicy timeoutSeconds",
    "admissionregistration.v1.Validation": "reason",
    "admissionregistration.v1.WebhookClientConfig": "url",
    "apiextensions.v1.CustomResourceDefinitionVersion": "deprecationWarning",
    "apiextensions.v1.CustomResourceSubresources": "status",
    "apiextensions.v1.CustomResourceSubresourceScale": "labelSelectorPath",
    "apiextensions.v1.JSONSchemaProps": "maxItems maxLength maxProperties maximum minItems minLength "
    "minProperties minimum multipleOf x-kubernetes-list-type x-kubernetes-map-type "
    "x-kubernetes-preserve-unknown-fields",
    "apiextensions.v1.ServiceReference": "path port",
    "apiextensions.v1.ValidationRule": "optionalOldSelf reason",
    "apiextensions.v1.WebhookClientConfig": "url",
    "apiregistration.v1.ServiceReference": "port",
}

# Optional structs, times and quantities that are values.
VALUES: dict[str, str] = {
    "core.v1.Container": "resources",
    "core.v1.EphemeralContainer": "resources",
    "core.v1.ContainerStatus": "lastState state",
    "core.v1.ContainerStateRunning": "startedAt",
    "core.v1.ContainerStateTerminated": "finishedAt startedAt",
    "core.v1.Event": "eventTime firstTimestamp lastTimestamp source",
    "core.v1.EventSeries": "lastObservedTime",
    "core.v1.NodeDaemonEndpoints": "kubeletEndpoint",
    "core.v1.NodeStatus": "daemonEndpoints nodeInfo",
    "core.v1.PersistentVolumeClaimSpec": "resources",
    "core.v1.PodTemplate": "template",
    "core.v1.ResourceFieldSelector": "divisor",
    "core.v1.ServicePort": "targetPort",
    "core.v1.ServiceStatus": "loadBalancer",
    "apps.v1.DaemonSetSpec": "updateStrategy",
    "apps.v1.DeploymentSpec": "strategy",
    "apps.v1.ReplicaSetSpec": "template",
    "apps.v1.StatefulSetSpec": "updateStrategy",
    "authentication.v1.SelfSubjectReviewStatus": "userInfo",
    "authentication.v1.TokenReviewStatus": "user",
    "authentication.v1.TokenRequestStatus": "expirationTimestamp",
    "discovery.v1.Endpoint": "conditions",
    "events.v1.Event": "deprecatedFirstTimestamp deprecatedLastTimestamp deprecatedSource regarding",
    "flowcontrol.v1.LimitedPriorityLevelConfiguration": "limitResponse",
    "meta.v1.APIGroup": "preferredVersion",
    "networking.v1.IngressServiceBackend": "port",
    "networking.v1.IngressStatus": "loadBalancer",
    "networking.v1.NetworkPolicySpec": "podSelector",
    "resource.v1.AllocationResult": "devices",
    "resource.v1.ResourceClaimSpec": "devices",
    "storage.v1.VolumeError": "time",
    "apiextensions.v1.CustomResourceDefinitionStatus": "acceptedNames",
}

# Times that are pointers although they stand in a condition or a status; `creationTimestamp` is a value left out when
# zero (`omitzero`), which comes to the same.
VALUE_TIMES = ["lastTransitionTime", "lastUpdateTime", "lastProbeTime", "lastHeartbeatTime"]

# Fields without `omitempty` that the schemas call optional.
EMITTED: dict[str, str] = {
    "apiextensions.v1.CustomResourceDefinitionStatus": "conditions",
    "apps.v1.ControllerRevision": "data",
    "apps.v1.StatefulSetSpec": "serviceName",
    "apps.v1.StatefulSetStatus": "availableReplicas",
    "authentication.v1.TokenRequestSpec": "boundObjectRef",
    "autoscaling.v2.HorizontalPodAutoscalerStatus": "currentMetrics",
    "core.v1.ContainerImage": "names",
    "core.v1.Event": "reportingComponent reportingInstance",
    "core.v1.NodeRuntimeHandler": "name",
    "core.v1.TypedLocalObjectReference": "apiGroup",
    "core.v1.TypedObjectReference": "apiGroup",
    "core.v1.ProjectedVolumeSource": "sources",
    "discovery.v1.EndpointSlice": "endpoints ports",
    "events.v1.Event": "eventTime",
    "flowcontrol.v1.ResourcePolicyRule": "namespaces",
    "policy.v1.PodDisruptionBudgetStatus": "currentHealthy desiredHealthy disruptionsAllowed expectedPods",
    "rbac.v1.ClusterRole": "rules",
    "rbac.v1.Role": "rules",
    "resource.v1.CapacityRequestPolicy": "default",
    "resource.v1.DeviceClaim": "requests",
    "scheduling.v1.PriorityClass": "value",
    "storage.v1.CSINodeDriver": "topologyKeys",
}

# Required fields behind a pointer: null, not an empty struct, when nothing was sent.
REQUIRED_POINTERS: dict[str, str] = {
    "apps.v1.DaemonSetSpec": "selector",
    "apps.v1.DeploymentSpec": "selector",
    "apps.v1.ReplicaSetSpec": "selector",
    "apps.v1.StatefulSetSpec": "selector",
    "core.v1.ScaleIOPersistentVolumeSource": "secretRef",
    "core.v1.ScaleIOVolumeSource": "secretRef",
    "networking.v1.HTTPIngressPath": "pathType",
    "networking.v1.IPAddressSpec": "parentRef",
    "resource.v1.CapacityRequestPolicyRange": "min",
    "admissionregistration.v1.MutatingWebhook": "sideEffects",
    "admissionregistration.v1.ValidatingWebhook": "sideEffects",
}

# Lists and maps whose emptiness says something: managedFields that are sent empty are reset, scaling policies that are
# sent empty are refused instead of filled in, the others show up in messages.
KEPT_EMPTY: dict[str, str] = {
    "apiextensions.v1.CustomResourceDefinitionSpec": "versions",
    "meta.v1.ObjectMeta": "managedFields",
    "autoscaling.v2.HPAScalingRules": "policies",
    "core.v1.PersistentVolumeSpec": "capacity",
}

# Defaults of fields that are keys of a list of type map: an item that leaves one out is merged as if it were there.
KEY_DEFAULTS: dict[str, dict[str, object]] = {
    "core.v1.ContainerPort": {"protocol": "TCP"},
    "core.v1.ServicePort": {"protocol": "TCP"},
    "core.v1.LocalObjectReference": {"name": ""},
}


def listed(table: dict[str, str], type_name: str) -> frozenset[str]:
    return frozenset(table.get(type_name, "").split())
