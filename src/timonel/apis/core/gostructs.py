"""Internal structs of upstream that show up in messages about immutable fields, field by field in their order.

Upstream: pkg/apis/core/types.go.
"""

from __future__ import annotations

from timonel.apis.godiff import GoField

_REFERENCE = (
    GoField("apiGroup", "APIGroup"),
    GoField("kind", "Kind", ""),
    GoField("name", "Name", ""),
)

CLAIM_SPEC = (
    GoField("accessModes", "AccessModes"),
    GoField("selector", "Selector"),
    GoField("resources", "Resources", {}, (GoField("limits", "Limits"), GoField("requests", "Requests"))),
    GoField("volumeName", "VolumeName", ""),
    GoField("storageClassName", "StorageClassName"),
    GoField("volumeMode", "VolumeMode"),
    GoField("dataSource", "DataSource", None, _REFERENCE),
    GoField("dataSourceRef", "DataSourceRef", None, (*_REFERENCE, GoField("namespace", "Namespace"))),
    GoField("volumeAttributesClassName", "VolumeAttributesClassName"),
)

_FS_TYPE = GoField("fsType", "FSType", "")
_READ_ONLY = GoField("readOnly", "ReadOnly", False)
_SECRET_REF = GoField(
    "secretRef", "SecretRef", None, (GoField("name", "Name", ""), GoField("namespace", "Namespace", ""))
)
_SECRET = _SECRET_REF.shape


def _texts(*pairs: tuple[str, str]) -> tuple[GoField, ...]:
    return tuple(GoField(wire, name, "") for wire, name in pairs)


VOLUME_SOURCE = (
    GoField("gcePersistentDisk", "GCEPersistentDisk", None,
            (GoField("pdName", "PDName", ""), _FS_TYPE, GoField("partition", "Partition", 0), _READ_ONLY)),
    GoField("awsElasticBlockStore", "AWSElasticBlockStore", None,
            (GoField("volumeID", "VolumeID", ""), _FS_TYPE, GoField("partition", "Partition", 0), _READ_ONLY)),
    GoField("hostPath", "HostPath", None, (GoField("path", "Path", ""), GoField("type", "Type"))),
    GoField("glusterfs", "Glusterfs", None,
            (*_texts(("endpoints", "EndpointsName"), ("path", "Path")), _READ_ONLY,
             GoField("endpointsNamespace", "EndpointsNamespace"))),
    GoField("nfs", "NFS", None, (*_texts(("server", "Server"), ("path", "Path")), _READ_ONLY)),
    GoField("rbd", "RBD", None,
            (GoField("monitors", "CephMonitors"), GoField("image", "RBDImage", ""), _FS_TYPE,
             *_texts(("pool", "RBDPool"), ("user", "RadosUser"), ("keyring", "Keyring")), _SECRET_REF, _READ_ONLY)),
    GoField("quobyte", "Quobyte", None,
            (*_texts(("registry", "Registry"), ("volume", "Volume")), _READ_ONLY,
             *_texts(("user", "User"), ("group", "Group"), ("tenant", "Tenant")))),
    GoField("iscsi", "ISCSI", None,
            (*_texts(("targetPortal", "TargetPortal"), ("iqn", "IQN")), GoField("lun", "Lun", 0),
             GoField("iscsiInterface", "ISCSIInterface", ""), _FS_TYPE, _READ_ONLY, GoField("portals", "Portals"),
             GoField("chapAuthDiscovery", "DiscoveryCHAPAuth", False),
             GoField("chapAuthSession", "SessionCHAPAuth", False), _SECRET_REF,
             GoField("initiatorName", "InitiatorName"))),
    GoField("flexVolume", "FlexVolume", None,
            (GoField("driver", "Driver", ""), _FS_TYPE, _SECRET_REF, _READ_ONLY, GoField("options", "Options"))),
    GoField("cinder", "Cinder", None, (GoField("volumeID", "VolumeID", ""), _FS_TYPE, _READ_ONLY, _SECRET_REF)),
    GoField("cephfs", "CephFS", None,
            (GoField("monitors", "Monitors"), *_texts(("path", "Path"), ("user", "User"), ("secretFile", "SecretFile")),
             _SECRET_REF, _READ_ONLY)),
    GoField("fc", "FC", None,
            (GoField("targetWWNs", "TargetWWNs"), GoField("lun", "Lun"), _FS_TYPE, _READ_ONLY,
             GoField("wwids", "WWIDs"))),
    GoField("flocker", "Flocker", None, _texts(("datasetName", "DatasetName"), ("datasetUUID", "DatasetUUID"))),
    GoField("azureFile", "AzureFile", None,
            (*_texts(("secretName", "SecretName"), ("shareName", "ShareName")), _READ_ONLY,
             GoField("secretNamespace", "SecretNamespace"))),
    GoField("vsphereVolume", "VsphereVolume", None,
            (GoField("volumePath", "VolumePath", ""), _FS_TYPE,
             *_texts(("storagePolicyName", "StoragePolicyName"), ("storagePolicyID", "StoragePolicyID")))),
    GoField("azureDisk", "AzureDisk", None,
            (*_texts(("diskName", "DiskName"), ("diskURI", "DataDiskURI")), GoField("cachingMode", "CachingMode"),
             GoField("fsType", "FSType"), GoField("readOnly", "ReadOnly"), GoField("kind", "Kind"))),
    GoField("photonPersistentDisk", "PhotonPersistentDisk", None, (GoField("pdID", "PdID", ""), _FS_TYPE)),
    GoField("portworxVolume", "PortworxVolume", None, (GoField("volumeID", "VolumeID", ""), _FS_TYPE, _READ_ONLY)),
    GoField("scaleIO", "ScaleIO", None,
            (*_texts(("gateway", "Gateway"), ("system", "System")), _SECRET_REF,
             GoField("sslEnabled", "SSLEnabled", False),
             *_texts(("protectionDomain", "ProtectionDomain"), ("storagePool", "StoragePool"),
                     ("storageMode", "StorageMode"), ("volumeName", "VolumeName")), _FS_TYPE, _READ_ONLY)),
    GoField("local", "Local", None, (GoField("path", "Path", ""), GoField("fsType", "FSType"))),
    GoField("storageos", "StorageOS", None,
            (*_texts(("volumeName", "VolumeName"), ("volumeNamespace", "VolumeNamespace")), _FS_TYPE, _READ_ONLY,
             _SECRET_REF)),
    GoField("csi", "CSI", None,
            (*_texts(("driver", "Driver"), ("volumeHandle", "VolumeHandle")), _READ_ONLY, _FS_TYPE,
             GoField("volumeAttributes", "VolumeAttributes"),
             *(GoField(wire, wire[0].upper() + wire[1:], None, _SECRET) for wire in (
                 "controllerPublishSecretRef", "nodeStageSecretRef", "nodePublishSecretRef",
                 "controllerExpandSecretRef", "nodeExpandSecretRef")))),
)  # fmt: skip
