"""The verdict of a gate: what is broken, what of it is known, and in which colour that ends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.gate_file import GateVerdict, PromiseResult, RootResult
from harness.promises.judge import Judgement, is_broken, tally
from harness.promises.roots import Area, Root, find_roots

__all__ = [
    "EXCEPT_KNOWN", "GREEN", "GateResult", "gate_note", "gate_result", "parse_known_defects",
]  # fmt: skip

GREEN: GateVerdict = "green"
EXCEPT_KNOWN: GateVerdict = "green except known"
"""All that is broken is on the list of known defects, each with its reason."""


@dataclass(frozen=True)
class GateResult:
    """What a gate found, ready to be shown and written.

    Attributes
    ----------
    judgements : tuple of Judgement
    roots : tuple of Root
        Of what is broken and not known, causes first.
    known : mapping of str to str
        Broken promises that are known, with the reason.
    complaints : tuple of str
        What is wrong with the list of known defects.
    idle : tuple of str
        Known defects of which nothing can be said here: they do not apply.
    verdict : str
        ``green``, ``green except known``, ``incomplete``, ``empty`` or ``red``.
    line : str
        The last line.
    """

    judgements: tuple[Judgement, ...]
    roots: tuple[Root, ...]
    known: Mapping[str, str]
    complaints: tuple[str, ...]
    idle: tuple[str, ...]
    verdict: GateVerdict
    line: str

    def results(self) -> dict[str, Any]:
        """Return what a gate file tells of it: every promise, the roots, and what is known."""
        return {
            "known_defects": dict(self.known),
            "complaints": self.complaints,
            "roots": tuple(
                RootResult(
                    root.judgement.promise.id, root.area,
                    tuple(j.promise.id for j in root.consequences),
                    tuple(j.promise.id for j in root.blocked),
                )
                for root in self.roots
            ),
            "relations": {
                j.promise.id: PromiseResult(
                    j.verdict, j.text, j.violations, j.warnings, j.kinds, j.detail
                )
                for j in self.judgements
            },
        }  # fmt: skip


def parse_known_defects(lines: Iterable[str]) -> dict[str, str]:
    """Return the reasons by promise of lines such as ``nan-stops: the loop has no check``.

    An absent reason is empty, which the verdict complains about.
    """
    pairs = (line.partition(":") for line in lines if line.strip())
    return {name.strip(): reason.strip() for name, _, reason in pairs}


def gate_result(
    judgements: Sequence[Judgement], *, areas: Mapping[str, Area],
    known_defects: Mapping[str, str] | None = None, unchecked: int = 0, failed: bool = False,
    required: bool = False, changed: Sequence[str] = (),
) -> GateResult:  # fmt: skip
    """Return the verdict.

    A gate of which a part was deselected is not green, nor is one in which nothing applied.

    Parameters
    ----------
    judgements : sequence of Judgement
    areas : mapping of str to str
        Every promise, with what its breach makes void.
    known_defects : mapping of str to str, optional
        Promises that may be broken, with the reason.
    unchecked : int, default 0
        Promises that are due and were not judged.
    failed : bool, default False
        Whether a test beside the gate failed: it vouches for nothing then.
    required : bool, default False
        Whether the judgements are of promises that were asked for by name.
    changed : sequence of str
        What is another than when the gate began: it is not known what was judged.
    """
    reasons = dict(known_defects or {})
    moved = (f"{what} changed while the gate ran: gate again" for what in changed)
    complaints = (*_complaints(judgements, reasons, areas), *moved)
    known = {
        j.promise.id: reasons[j.promise.id]
        for j in judgements
        if j.verdict == "BROKEN" and reasons.get(j.promise.id)
    }
    unknown = [j for j in judgements if j.promise.id not in known]
    bad = failed or bool(complaints) or is_broken(unknown)
    verdict: GateVerdict = "red" if bad else "incomplete" if unchecked else "green"
    if verdict == GREEN and known:
        verdict = EXCEPT_KNOWN
    text = tally(unknown, (len(known), "known"), (unchecked, "not run"))
    if required:
        holding = sum(j.verdict == "holds" for j in judgements)
        text = f"{holding} of {len(judgements) + unchecked} required promises hold"
        rest = [j for j in unknown if j.verdict != "holds"]
        text += f", {tally(rest, (len(known), 'known'), (unchecked, 'not run'))}" * bool(
            rest or known or unchecked
        )
    if not bad and not any(j.verdict == "holds" for j in judgements):
        verdict, text = "empty", f"nothing was found to hold; {text}"
    if failed and not is_broken(unknown) and not complaints:
        text += ", but other tests failed"
    shown = f"GREEN except {len(known)} known" if verdict == EXCEPT_KNOWN else verdict.upper()
    roots = find_roots(unknown, areas)
    idle = tuple(j.promise.id for j in judgements if j.verdict == "n/a" and j.promise.id in reasons)
    line = f"GATE {shown}: {text}"
    return GateResult(tuple(judgements), roots, known, complaints, idle, verdict, line)


def _complaints(
    judgements: Sequence[Judgement], reasons: Mapping[str, str], promises: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return what is wrong with the list of known defects; one that did not run is left alone."""
    verdicts = {j.promise.id: j.verdict for j in judgements}
    found = []
    for name, reason in reasons.items():
        if name not in promises:
            found.append(f"known defect {name!r}: no promise of that name; `harness promises`")
        elif not reason:
            found.append(f"known defect {name}: no reason, expected '{name}: why it is accepted'")
        elif verdicts.get(name) == "holds":
            found.append(f"known defect {name}: it holds now; take it off the list ({reason})")
    return tuple(found)


def gate_note(gate: Mapping[str, Any]) -> str:
    """Return what a gate file says was gated, in a sentence for a run's ledger and report."""
    gated = gate.get("gated") or {}
    code = gated.get("code") or {}
    state = {"True": "dirty", "False": "clean"}.get(str(code.get("dirty")), "not known to be clean")
    commit = f"commit {code['commit'][:12]}, {state}" if code.get("commit") else "commit not known"
    known = "".join(f"; {name}: {why}" for name, why in (gate.get("known_defects") or {}).items())
    return (
        f"gated: {gate.get('verdict')}, {gated.get('name', gate.get('system'))} ({commit}), "
        f"samebits {gate.get('version')}, tier {gate.get('tier')}{known}"
    )
