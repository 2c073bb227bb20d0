"""The kubelet's CredentialProviderConfig: which programs give credentials for which images. Pure.

Upstream: pkg/credentialprovider/plugin/config.go, k8s.io/kubelet/config/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timonel.machinery import durations
from timonel.machinery.names import qualified_name
from timonel.node import imagenames
from timonel.records import dataclass

V1 = "credentialprovider.kubelet.k8s.io/v1"
VERSIONS = (V1, "credentialprovider.kubelet.k8s.io/v1alpha1", "credentialprovider.kubelet.k8s.io/v1beta1")
GROUP = "kubelet.config.k8s.io"
CACHE_TYPES = ("ServiceAccount", "Token")


@dataclass(frozen=True, slots=True)
class TokenWish:
    """The program wants a token of the pod's service account, and some of its annotations."""

    audience: str
    is_required: bool
    caches_by_token: bool
    required: tuple[str, ...]
    optional: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Provider:
    name: str  # of the program
    api_version: str
    images: tuple[str, ...]  # patterns
    cache_seconds: float  # if the program says nothing
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    token: TokenWish | None = None

    def serves(self, image: str) -> bool:
        return any(imagenames.is_below(image, pattern) for pattern in self.images)


def parse(trees: Iterable[Any]) -> tuple[Provider, ...]:
    """Of all files together. Raises ValueError with everything that is wrong."""
    providers = list[Mapping[str, Any]]()
    for tree in trees:
        if not isinstance(tree, dict) or tree.get("kind") != "CredentialProviderConfig":
            kind = tree.get("kind", "") if isinstance(tree, dict) else ""
            raise ValueError(f'failed to decode "{kind}" (wrong Kind)')
        group = str(tree.get("apiVersion", "")).partition("/")[0]
        if group != GROUP:
            raise ValueError(f"failed to decode CredentialProviderConfig, unexpected Group: {group}")
        found = tree.get("providers") or []
        if not isinstance(found, list) or not all(isinstance(p, dict) for p in found):
            raise ValueError("providers is not a list of objects")
        providers += found
    if not providers:
        raise ValueError("providers: Required value: at least 1 item in plugins is required")
    names = [str(p.get("name", "")) for p in providers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'duplicate provider name "{name}" found in configuration file(s)')
    try:
        wrong = [text for provider in providers for text in _complaints(provider)]
        if wrong:
            raise ValueError(wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")
        return tuple(_provider(provider) for provider in providers)
    except (TypeError, AttributeError, KeyError) as e:
        raise ValueError(f"a provider is not of the right shape: {e}") from e


def _complaints(provider: Mapping[str, Any]) -> Iterator[str]:
    name = str(provider.get("name") or "")
    if not name or "/" in name or " " in name or name in (".", ".."):
        yield f'providers.name: Invalid value: "{name}": not the name of a program'
    version = provider.get("apiVersion") or ""
    if version not in VERSIONS:
        supported = ", ".join(f'"{v}"' for v in VERSIONS)
        yield (
            f'providers.apiVersion: Unsupported value: "{version}": supported values: {supported}'
            if version
            else "providers.apiVersion: Required value"
        )
    if not provider.get("matchImages"):
        yield "providers.matchImages: Required value: at least 1 item in matchImages is required"
    duration = provider.get("defaultCacheDuration")
    if duration is None:
        yield "providers.defaultCacheDuration: Required value"
    elif durations.parse(str(duration)) < 0:
        yield (
            f'providers.defaultCacheDuration: Invalid value: "{duration}": defaultCacheDuration must be greater than '
            "or equal to 0"
        )
    if provider.get("tokenAttributes") is not None:
        yield from _token_complaints(provider["tokenAttributes"], version)


def _token_complaints(token: Mapping[str, Any], version: str) -> Iterator[str]:
    path = "providers.tokenAttributes"
    if version != V1:
        yield f"{path}: Forbidden: tokenAttributes is only supported for {V1} API version"
    if not token.get("serviceAccountTokenAudience"):
        yield f"{path}.serviceAccountTokenAudience: Required value"
    if token.get("requireServiceAccount") is None:
        yield f"{path}.requireServiceAccount: Required value"
    if token.get("cacheType") not in CACHE_TYPES:
        yield f"{path}.cacheType: Supported values are: {', '.join(CACHE_TYPES)}"
    required, optional = (_keys(token, side) for side in ("required", "optional"))
    if required and token.get("requireServiceAccount") is False:
        yield (
            f"{path}.requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot be false when "
            "requiredServiceAccountAnnotationKeys is set"
        )
    for key in (*required, *optional):
        for complaint in qualified_name(key.lower()):
            yield f'{path}: Invalid value: "{key}": {complaint}'
    if set(required) & set(optional):
        yield f"{path}: Invalid value: annotation keys cannot be both required and optional"


def _keys(token: Mapping[str, Any], side: str) -> tuple[str, ...]:
    return tuple(str(key) for key in token.get(f"{side}ServiceAccountAnnotationKeys") or ())


def _provider(tree: Mapping[str, Any]) -> Provider:
    token = tree.get("tokenAttributes")
    wish = None
    if token is not None:
        wish = TokenWish(
            audience=token["serviceAccountTokenAudience"],
            is_required=bool(token["requireServiceAccount"]),
            caches_by_token=token["cacheType"] == "Token",
            required=_keys(token, "required"),
            optional=_keys(token, "optional"),
        )
    return Provider(
        name=tree["name"],
        api_version=tree["apiVersion"],
        images=tuple(str(pattern) for pattern in tree["matchImages"]),
        cache_seconds=durations.parse(str(tree["defaultCacheDuration"])),
        args=tuple(str(arg) for arg in tree.get("args") or ()),
        env=tuple((str(e["name"]), str(e.get("value", ""))) for e in tree.get("env") or ()),
        token=wish,
    )
