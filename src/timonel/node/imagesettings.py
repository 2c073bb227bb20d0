"""The kubelet's settings of images, as its flags or the fields of its configuration have them. Pure.

Upstream: pkg/kubelet/apis/config/validation/validation.go, cmd/kubelet/app/options/options.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from timonel.machinery import durations
from timonel.records import dataclass

HIGH, LOW = "image-gc-high-threshold", "image-gc-low-threshold"
YOUNGEST, OLDEST = "minimum-image-ttl-duration", "image-maximum-gc-age"
SERIAL, AT_ONCE = "serialize-image-pulls", "max-parallel-image-pulls"
PROVIDERS, PROGRAMS = "image-credential-provider-config", "image-credential-provider-bin-dir"
VERIFY = "image-pull-credentials-verification-policy"
NEVER, PRELOADED, ALWAYS = "NeverVerify", "NeverVerifyPreloadedImages", "AlwaysVerify"
POLICIES = (NEVER, PRELOADED, ALWAYS)
FLAGS = frozenset((VERIFY, HIGH, LOW, YOUNGEST, OLDEST, SERIAL, AT_ONCE, PROVIDERS, PROGRAMS))


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Unused images go once the disk is fuller than `high` percent, until it is down to `low`; none that is younger
    than `youngest` seconds; and all that were unused for `oldest` seconds (0: no limit)."""

    high: int = 85
    low: int = 80
    youngest: float = 120.0
    oldest: float = 0.0
    pulls_at_once: int = 0  # 0: no limit. Differs from upstream, which pulls one image after the other
    providers: Path | None = None  # the file that names programs with credentials, and where they are
    programs: Path | None = None
    verification: str = PRELOADED  # of who may use an image that is there already


def settings(flags: Mapping[str, str]) -> ImageSettings:
    """Raises ValueError."""
    high, low = _number(flags, HIGH, 85), _number(flags, LOW, 80)
    for name, percent in ((HIGH, high), (LOW, low)):
        if not 0 <= percent <= 100:
            raise ValueError(
                f"invalid configuration: --{name} {percent} must be between 0 and 100, inclusive"
            )
    if low >= high:
        raise ValueError(f"invalid configuration: --{LOW} {low} must be less than --{HIGH} {high}")
    youngest, oldest = durations.parse(flags.get(YOUNGEST, "2m")), durations.parse(flags.get(OLDEST, "0s"))
    if oldest < 0 or youngest < 0:
        raise ValueError(f"invalid configuration: --{OLDEST} and --{YOUNGEST} must not be negative")
    if 0 < oldest <= youngest:
        raise ValueError(
            f"invalid configuration: --{OLDEST} {durations.shown(oldest)} must be greater than "
            f"--{YOUNGEST} {durations.shown(youngest)}"
        )
    if (PROVIDERS in flags) != (PROGRAMS in flags):
        raise ValueError(f"--{PROVIDERS} and --{PROGRAMS} are given together or not at all")
    verification = flags.get(VERIFY, PRELOADED)
    if verification not in POLICIES:
        raise ValueError(f'--{VERIFY}: "{verification}" is none of {", ".join(POLICIES)}')
    return ImageSettings(
        high,
        low,
        youngest,
        oldest,
        _pulls(flags),
        Path(flags[PROVIDERS]) if PROVIDERS in flags else None,
        Path(flags[PROGRAMS]) if PROGRAMS in flags else None,
        verification,
    )


def _pulls(flags: Mapping[str, str]) -> int:
    serial = flags.get(SERIAL)
    if serial not in (None, "true", "false"):
        raise ValueError(f'invalid argument "{serial}" for --{SERIAL}: neither true nor false')
    if AT_ONCE not in flags:
        return 1 if serial == "true" else 0
    most = _number(flags, AT_ONCE, 0)
    if most < 1:
        raise ValueError(f"invalid configuration: --{AT_ONCE} {most} must be a positive number")
    if most > 1 and serial == "true":
        raise ValueError(
            f"invalid configuration: --{AT_ONCE} cannot be larger than 1 unless --{SERIAL}=false"
        )
    return most


def _number(flags: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(flags.get(name, default))
    except ValueError:
        raise ValueError(f'invalid argument "{flags[name]}" for --{name}: not a number') from None
