"""CEL engines beside each other: what they know, what an evaluation takes, what their first use costs.

    python -m benchmarks.cel

Ours is always measured; `common-expression-language` and `cel-python` (PyPI) where they are installed.
"""

from __future__ import annotations

import subprocess
import sys
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

REPLICAS = {"minReplicas": 1, "replicas": 2, "maxReplicas": 3, "name": "web-0"}
POD = {"spec": {"containers": [{"name": f"c{index}", "image": f"r.io/app:{index}"} for index in range(10)]}}
SIMPLE = "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas"
RULES: tuple[tuple[str, str, Any], ...] = (
    ("two comparisons", SIMPLE, REPLICAS),
    ("presence and prefix", "!has(self.name) || self.name.startsWith('web')", REPLICAS),
    ("pattern", "self.name.matches('^[a-z]+-[0-9]+$')", REPLICAS),
    ("all of ten objects", "self.spec.containers.all(c, c.image.startsWith('r.io/'))", POD),
    ("map, then exists", "self.spec.containers.map(c, c.name).exists(n, n == 'c9')", POD),
)
FEATURES: tuple[tuple[str, str, Any], ...] = (
    ("absorbed error", "self.replicas == 2 || self.absent", True),
    ("int64 overflow", "9223372036854775807 + 1 > 0", "error"),
    ("bool is no int", "dyn(true) == dyn(1)", False),
    ("code points", "'héllo 👑'.size() == 7", True),
    ("timestamps", "timestamp('2026-01-01T00:00:00Z').getHours('America/New_York') == 19", True),
    ("optional fields", "self.?absent.orValue(3) == 3", True),
    ("optMap", "optional.of(2).optMap(x, x * 2).value() == 4", True),
    ("two variables", "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}", True),
    ("cel.bind", "cel.bind(x, 2, x + x) == 4", True),
    ("quantity", "quantity('1Gi').isGreaterThan(quantity('1Mi'))", True),
    ("url", "url('https://a.b:8/c').getPort() == '8'", True),
    ("ip, cidr", "cidr('10.0.0.0/8').containsIP('10.1.1.1')", True),
    ("format", "!format.dns1123Label().validate('web').hasValue()", True),
    ("semver", "semver('1.2.3').isLessThan(semver('1.3.0'))", True),
    ("sets", "sets.contains([1, 2], [2])", True),
    ("lists", "[3, 1].sum() == 4 && ![3, 1].isSorted()", True),
    ("strings", "'a,b'.split(',').join('-') == 'a-b'", True),
    ("regex", "'ab12'.find('[0-9]+') == '12'", True),
    ("types checked", "'a' + 1 == 'a1'", "refused"),
    ("unknown field", "self.minReplica > 0", "refused"),
)
Evaluate = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Engine:
    """`prepare` compiles once; an expression that is refused then raises."""

    name: str
    module: str
    statement: str
    prepare: Callable[[str, bool], Evaluate]
    convert: Callable[[Any], Any] = lambda tree: tree


def _timonel(expression: str, typed: bool) -> Evaluate:
    from timonel.machinery.cel import DEVICES, Environment, types

    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    for field in ("minReplicas", "replicas", "maxReplicas"):
        schema["properties"][field] = {"type": "integer"}  # type: ignore[index]
    of = types.of_schema(schema) if typed else types.DYN
    return Environment({"self": of or types.DYN}, libraries=DEVICES).compile(expression).evaluate


def _rust(expression: str, typed: bool) -> Evaluate:
    import cel  # type: ignore[import-not-found]

    program = cel.compile(expression)
    return lambda variables: program.execute(variables)


def _cel_python(expression: str, typed: bool) -> Evaluate:
    import celpy  # type: ignore[import-not-found]

    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return lambda variables: program.evaluate(variables)


def _cel_python_values(tree: Any) -> Any:
    import celpy

    return celpy.json_to_cel(tree)


# Importing ours alone loads nothing: the first expression does.
_FIRST_USE = """
from timonel.machinery.cel import Environment, types
Environment({"self": types.DYN}).compile("self.a == 1").evaluate({"self": {"a": 1}})
"""
ENGINES = (
    Engine("timonel", "timonel", _FIRST_USE, _timonel),
    Engine("common-expression-language", "cel", "import cel.cel", _rust),
    Engine("cel-python", "celpy", "import celpy", _cel_python, _cel_python_values),
)


def knows(engine: Engine, expression: str, expected: Any, typed: bool) -> bool:
    """Whether the engine does with the expression what Kubernetes does."""
    try:
        evaluate = engine.prepare(expression, typed)
    except Exception:
        return bool(expected == "refused")
    if expected == "refused":
        return False
    try:
        value = evaluate({"self": engine.convert(REPLICAS)})
    except Exception:
        return bool(expected == "error")
    return type(expected) is bool and bool(value) is expected and not isinstance(value, Exception)


def microseconds(engine: Engine, expression: str, tree: Any) -> float:
    evaluate = engine.prepare(expression, expression == SIMPLE)
    variables = {"self": engine.convert(tree)}
    if not evaluate(variables):
        return float("nan")
    timer = timeit.Timer(lambda: evaluate(variables))
    number = max(int(timer.autorange()[0] / 4), 1)
    return min(timer.repeat(15, number)) / number * 1e6


_IMPORT = """
import asyncio, datetime, ipaddress, json, re, ssl, time, urllib.parse  # what a server has loaded anyway
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
before = resident()
start = time.perf_counter()
{statement}
took = time.perf_counter() - start
print(took * 1000, resident() - before)
"""


def importing(engine: Engine) -> tuple[float, float]:
    """Milliseconds and megabytes of a fresh interpreter, the best of three."""
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT.replace("{statement}", engine.statement)],
            capture_output=True,
            text=True,
            check=True,
        )
        took, grown = done.stdout.split()
        runs.append((float(took), float(grown)))
    return min(runs)


def main() -> None:
    present = [engine for engine in ENGINES if find_spec(engine.module) is not None]
    width = max(len(engine.name) for engine in present) + 2
    print(f"{'':24}" + "".join(f"{engine.name:>{width}}" for engine in present))
    for name, expression, tree in RULES:
        times = [f"{microseconds(engine, expression, tree):.2f} µs" for engine in present]
        print(f"{name:24}" + "".join(f"{cell:>{width}}" for cell in times))
    costs = [importing(engine) for engine in present]
    print(f"{'import, first use':24}" + "".join(f"{took:>{width - 3}.0f} ms" for took, _ in costs))
    print(f"{'memory of that':24}" + "".join(f"{grown:>{width - 3}.1f} MB" for _, grown in costs))
    totals = dict.fromkeys((engine.name for engine in present), 0)
    for name, expression, expected in FEATURES:
        typed = expected == "refused"
        row = []
        for engine in present:
            right = knows(engine, expression, expected, typed)
            totals[engine.name] += right
            row.append("yes" if right else "no")
        print(f"{name:24}" + "".join(f"{cell:>{width}}" for cell in row))
    print(f"{f'of {len(FEATURES)}':24}" + "".join(f"{totals[engine.name]:>{width}}" for engine in present))


if __name__ == "__main__":
    main()
