"""What the DNS server counts, in Prometheus' text, under CoreDNS's names. Served at :9153/metrics, as there."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

LONGEST_WAIT = 5.0  # seconds that a client has for its request
BUCKETS = (
    0.00025,
    0.0005,
    0.001,
    0.002,
    0.004,
    0.008,
    0.016,
    0.032,
    0.064,
    0.128,
    0.256,
    0.512,
    1.024,
    2.048,
)
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}


class Counts:
    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()  # protocol, type
        self.responses: Counter[int] = Counter()
        self.malformed = 0
        self._durations = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def took(self, seconds: float) -> None:
        self._seconds += seconds
        for n, bound in enumerate(BUCKETS):
            if seconds <= bound:
                self._durations[n] += 1
                return
        self._durations[-1] += 1

    def text(self, *, forwarded: int, hits: int, failed: int) -> str:
        lines = ["# TYPE coredns_dns_requests_total counter"]
        for (protocol, kind), count in sorted(self.requests.items()):
            lines.append(f'coredns_dns_requests_total{{proto="{protocol}",type="{kind}"}} {count}')
        lines.append("# TYPE coredns_dns_responses_total counter")
        for rcode, count in sorted(self.responses.items()):
            lines.append(
                f'coredns_dns_responses_total{{rcode="{RCODES.get(rcode, f"RCODE{rcode}")}"}} {count}'
            )
        lines.append("# TYPE coredns_dns_request_duration_seconds histogram")
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._durations, strict=True):
            total += count
            lines.append(f'coredns_dns_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines.append(f"coredns_dns_request_duration_seconds_sum {self._seconds:.6f}")
        lines.append(f"coredns_dns_request_duration_seconds_count {total}")
        for name, value in (
            ("coredns_forward_requests_total", forwarded),
            ("coredns_forward_healthcheck_broken_total", failed),
            ("coredns_cache_hits_total", hits),
            ("timonel_dns_malformed_packets_total", self.malformed),
        ):
            lines += [f"# TYPE {name} counter", f"{name} {value}"]
        return "\n".join(lines) + "\n"


class MetricsServer:
    """A lifecycle Service."""

    name = "dns metrics"

    def __init__(self, address: str, port: int, text: Callable[[], str]) -> None:
        self.address, self.port, self._text = address, port, text

    async def run(self, ready: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, self.address, self.port, reuse_address=True)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            ready.set()
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                found = len(request) > 1 and request[1].split(b"?")[0] == b"/metrics"
                body = self._text().encode() if found else b""
                status = "200 OK" if found else "404 Not Found"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()
