"""Encryption at rest: `ciphers` seal and open, `configuration` says with which keys, `vault` applies it to what is
stored, `reencryption` brings what is stored under the newest key.

What is sealed begins with upstream's marks, so that an upstream API server with the same EncryptionConfiguration reads
it, and the other way round. See docs/guide/security.md.

Upstream: apiserver/pkg/storage/value, apiserver/pkg/server/options/encryptionconfig/config.go.
"""

from timonel.server.atrest.configuration import Configuration, Misconfigured
from timonel.server.atrest.vault import Unreadable, Vault

__all__ = ["Configuration", "Misconfigured", "Unreadable", "Vault"]
