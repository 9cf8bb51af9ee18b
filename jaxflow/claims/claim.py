"""What a claim is: a function with its statement, its settings and its near misses beside it."""

import dataclasses
import inspect
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._types import Preset
from ..falsify import Certificate
from ..machine.progress import Progress
from ..sweeps import Sweep
from .evidence import Evidence
from .experiments import finished, once
from .resolution import Moves

PRESETS = ("quick", "paper", "large")
Settings = Callable[[Preset], Any]
Arguments = Mapping[str, Any]


def presets(
    build: Callable[..., Any] | None = None, *, quick: Any, paper: Any, large: Any
) -> Settings:
    """The setting of each preset, `build(*values)`, or without `build` the value itself.

    `quick` takes seconds, `paper` is the paper's own setting, `large` goes beyond it.
    """
    values = {"quick": quick, "paper": paper, "large": large}

    @once
    def settings(preset: str) -> Any:
        value = values[preset]
        if build is None:
            return value
        return build(*value) if isinstance(value, tuple) else build(value)

    return settings


@dataclasses.dataclass(frozen=True, eq=False)
class Claim:
    """A statement of a paper, or of your own, with an experiment that can refute it.

    Most claims are made by `Paper.claim`. The experiment of a claim is planned by `settings`, run
    by `run`, and judged by the function `judge`.

    **Attributes:**

    - `id`: paper and name, such as "min2021.rate"; `source`, where it stands, and `provenance`,
      how it is known: "read", "derived", "second-hand" or "memory".
    - `text`: the statement in symbols, a template that is filled in with the `arguments`, or a
      function of them. `{factor:times}` is "1.05 * ", and nothing where the factor is 1.
    - `latex`: the statement in LaTeX, in math mode; a text as it is, or a function of `arguments`.
    - `judge`: `judge(found, **arguments) -> Evidence`. An argument called `setting` is the setting.
    - `settings`: the setting of a preset, as `presets(...)` gives it.
    - `run`: `run(setting)`, the experiment; it also gets those of the arguments that it names.
      Default: a `Sweep` is run, and anything else is passed on.
    - `hypotheses`: those that the proof uses.
    - `expected`: True; False for what is printed and wrong; None for what cannot be decided.
    - `arguments`: the numbers and names in the statement.
    - `moves`: the number among the arguments that is moved until the evidence refutes the
      statement: that is how fine the check is, and the mutant is the statement at twice the
      distance.
    - `tight`, `attained`: settings, and arguments, with which the statement is attained, or nearly:
      there the check is finest.
    - `mutant_changes`: arguments that make the statement false where no number moves; the same
      check must refute it. `control_changes`: arguments of a true statement that tells something
      that the claim does not. None: there is none.
    - `prove`: `prove(setting)`, a certificate that the statement is false, for one that comes out
      False; None where it finds none.
    - `group`: claims of one group share experiments, and `verify_all` keeps them in one process.
    """

    id: str
    text: str | Callable[..., str]
    judge: Callable[..., Evidence]
    settings: Settings
    source: str
    provenance: str
    run: Callable[..., Any] | None = None
    hypotheses: str = "none"
    expected: bool | None = True
    arguments: Arguments = dataclasses.field(default_factory=dict)
    moves: Moves | None = None
    tight: Settings | None = None
    attained: Arguments | None = None
    mutant_changes: Arguments | None = None
    control_changes: Arguments | None = None
    group: str | None = None
    latex: str | Callable[..., str] = ""
    prove: Callable[[Any], Certificate | None] | None = None

    def __post_init__(self):
        if self.moves is not None and self.moves.argument not in self.arguments:
            known = ", ".join(self.arguments) or "none at all"
            raise ValueError(
                f"{self.id} is to move {self.moves.argument!r}, and has no argument of that name "
                f"with a value: its arguments are {known}."
            )

    @property
    def statement(self) -> str:
        """The statement in symbols."""
        return _filled(self.text, self.arguments)

    @property
    def typeset(self) -> str:
        """The statement in LaTeX; empty if it is given in plain symbols only."""
        return self.latex(**self.arguments) if callable(self.latex) else self.latex

    def setting(self, preset: str) -> Any:
        """The setting of a preset: "quick", "paper" or "large"."""
        return self.settings(preset)

    def evaluate(self, setting: Any, progress: Progress | bool = False) -> Evidence:
        """Run the experiment, once for a claim and its variants, and judge what it gave."""
        if self.run is not None:
            found = once(self.run)(setting, **_named(self.run, self.arguments))
        else:
            found = finished(setting, progress) if isinstance(setting, Sweep) else setting
        _, *further = inspect.signature(self.judge).parameters
        more = {"setting": setting} if "setting" in further else {}
        return self.judge(found, **more, **self.arguments)

    def decide(self, evidence: Evidence) -> tuple[bool | None, str]:
        """Whether the claim holds, and the reason in one sentence."""
        return evidence.decide()

    def with_arguments(self, changes: Arguments, *, tight: bool = False) -> "Claim":
        """The same claim with other arguments; `tight`, where the statement is attained."""
        settings = self.settings if not tight or self.tight is None else self.tight
        there = {} if not tight or self.attained is None else self.attained
        return dataclasses.replace(
            self,
            arguments={**self.arguments, **there, **changes},
            settings=settings,
            latex="",
        )

    @property
    def mutant(self) -> "Claim | None":
        """The false variant, if it is given and not found by moving a number."""
        if self.mutant_changes is None:
            return None
        return self.with_arguments(self.mutant_changes, tight=True)

    @property
    def control(self) -> "Claim | None":
        """The true variant: what is given, or the claim where it is attained; None without."""
        if self.control_changes is None and self.tight is None and self.attained is None:
            return None
        return self.with_arguments(self.control_changes or {}, tight=True)


class Paper:
    """The claims of one paper, or of one conjecture.

    **Arguments:** `id`, by which claims are found; the `citation`, which sources begin with; the
    `provenance` of its claims, unless they have their own; and the `group` of papers that share
    experiments, by default the paper alone.
    """

    def __init__(self, id: str, citation: str, *, provenance: str, group: str | None = None):
        self.id, self.citation, self.provenance = id, citation, provenance
        self.group = group or id
        self.claims: list[Claim] = []

    def claim(
        self,
        statement: str | Callable[..., str],
        *,
        settings: Settings,
        name: str | None = None,
        each: Sequence[Arguments] = ({},),
        moves: Moves | str | None = None,
        mutant: Arguments | Callable[..., Arguments] | None = None,
        control: Arguments | Callable[..., Arguments] | None = None,
        source: str = "",
        hypotheses: str = "none",
        provenance: str | None = None,
        **fields: Any,
    ) -> Callable[[Callable[..., Evidence]], Callable[..., Evidence]]:
        """Decorate a function `judge(found, **arguments) -> Evidence`: it becomes a claim.

        **Arguments:** the `statement`, `settings` and further fields of `Claim`; `moves` may be
        the name of an argument, `mutant` and `control` are the changed arguments, and `source` is
        the place in the paper. `name` is the function's unless said, and with `each`, a list of
        arguments, there is a claim for each of them. Name, source and hypotheses may then be
        templates like the statement, and mutant and control functions of the arguments.
        """

        def decorate(judge: Callable[..., Evidence]) -> Callable[..., Evidence]:
            defaults = {
                n: p.default
                for n, p in inspect.signature(judge).parameters.items()
                if p.default is not inspect.Parameter.empty
            }
            for member in each:
                known = {**defaults, **member}
                place = _filled(source, known)
                claim = Claim(
                    id=f"{self.id}.{_filled(name or judge.__name__, known)}",
                    group=self.group,
                    text=statement,
                    judge=judge,
                    settings=settings,
                    source=f"{self.citation}, {place}" if place else self.citation,
                    provenance=provenance or self.provenance,
                    hypotheses=_filled(hypotheses, known),
                    arguments=known,
                    moves=Moves(moves) if isinstance(moves, str) else moves,
                    mutant_changes=mutant(**known) if callable(mutant) else mutant,
                    control_changes=control(**known) if callable(control) else control,
                    **fields,
                )
                self.claims.append(claim)
            return judge

        return decorate


class _Words(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "times":
            return "" if value == 1 else f"{value:.12g} * "
        return super().format_field(value, format_spec)


def _filled(text: str | Callable[..., str], arguments: Arguments) -> str:
    return text(**arguments) if callable(text) else _Words().vformat(text, (), arguments)


def _named(function: Callable[..., Any], arguments: Arguments) -> dict[str, Any]:
    """Those of the arguments that the function names."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}
