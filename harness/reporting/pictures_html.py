"""The section of a page on what a run predicts: pictures of samples, with a slider over epochs.

Everything that differs between epochs is there for each of them, and all but the last one is
hidden; the page's script shows another. Without it the last one stays.
"""

import base64
from collections.abc import Iterable, Sequence

from harness.records.pictures import Scored
from harness.reporting.flow_colours import png, wheel_image
from harness.reporting.markup import figure, note, safe, warning, window_outline
from harness.reporting.pictured import Pictured, ShownEpoch, ShownFlow, ShownSample
from harness.wording import counted

__all__ = ["pictures_section"]


def pictures_section(runs: Sequence[Pictured]) -> str:
    """Return the section as HTML; empty where nothing was recorded."""
    many = len(runs) > 1
    return "\n".join(_section(run, f"What {run.name} predicts" if many else "What it predicts")
                     for run in runs)  # fmt: skip


def _section(run: Pictured, title: str) -> str:
    parts = [f"<h2>{safe(title)}</h2>", *(warning(text) for text in run.notes)]
    if run.epochs:
        parts += [note(_which(run)), note(_KEY), _slider(run), *_of_epochs(run), *_frozen(run)]
        parts += [*_ends(run, "best"), *_ends(run, "worst")]
    epochs = " ".join(str(one.epoch) for one in run.epochs)
    body = "\n".join(parts)
    return f'<section class="predicts" data-epochs="{epochs}">\n{body}\n</section>'


_KEY = (
    "Of each evaluation, what the best and the worst arch of the pool predict of the same few "
    "samples, and of the samples with the lowest and the highest EPE, as a mean over the pool. "
    "Flow: the hue is its direction, from the middle of the wheel outwards, the saturation its "
    "length, full at the length that is named, darker beyond. Errors: dark is 0, light as far off "
    "as is named, or more. Grey is unknown. Images are smaller here than on disk, and lossy."
)


def _which(run: Pictured) -> str:
    """Return which evaluations are shown."""
    shown = ", ".join(str(one.epoch) for one in run.epochs)
    if run.recorded == len(run.epochs):
        return f"Pictures of {counted(run.recorded, 'evaluation')}: after epoch {shown}."
    return (
        f"{len(run.epochs)} of {counted(run.recorded, 'evaluation')} with pictures, evenly chosen: "
        f"after epoch {shown}."
    )


def _slider(run: Pictured) -> str:
    """Return the slider, hidden until the page's script takes it up."""
    if len(run.epochs) < 2:
        return ""
    last = len(run.epochs) - 1
    return (
        '<div class="scrub" hidden><label>epoch <input type="range" min="0" '
        f'max="{last}" value="{last}" step="1"></label> '
        f"<output>{run.epochs[-1].epoch}</output></div>"
    )


def _at(run: Pictured, epochs: Iterable[int]) -> str:
    """Return the attributes of what is shown at some epochs."""
    chosen = list(epochs)
    hidden = "" if run.epochs[-1].epoch in chosen else " hidden"
    return f'data-at="{" ".join(map(str, chosen))}"{hidden}'


def _of_epochs(run: Pictured) -> Iterable[str]:
    for one in run.epochs:
        yield (
            f"<p {_at(run, [one.epoch])}>After epoch {one.epoch}: the best arch is "
            f"{_arch(one.best_arch)}, the worst {_arch(one.worst_arch)}.</p>"
        )


def _arch(arch: Scored) -> str:
    return f"<code>{safe(arch.name)}</code> with an EPE of {arch.epe:.4f} px"


def _frozen(run: Pictured) -> Iterable[str]:
    """Yield each frozen sample: its own images, and what was predicted after each epoch."""
    keys = dict.fromkeys(key for one in run.epochs for key in one.frozen)
    for key in keys:
        with_it = [one for one in run.epochs if key in one.frozen]
        sample = run.samples[key]
        yield f"<div {_at(run, (one.epoch for one in with_it))}>"
        yield f"<h3>Sample {safe(sample.id)}</h3>{note(_facts(sample))}"
        yield f'<div class="looks">{_own(sample, wheel=True)}'
        for one in with_it:
            yield _predicted(run, one, sample)
        yield "</div></div>"


def _ends(run: Pictured, which: str) -> Iterable[str]:
    """Yield the best or the worst sample of each epoch, which may be the same of several."""
    yield f"<h3>The {which} sample</h3>"
    by_sample: dict[str, list[ShownEpoch]] = {}
    for one in run.epochs:
        by_sample.setdefault(_end(one, which).name, []).append(one)
    for key, some in by_sample.items():
        sample = run.samples[key]
        yield f"<div {_at(run, (one.epoch for one in some))}>"
        for one in some:
            text = f"Sample {sample.id}: mean EPE of the pool {_end(one, which).epe:.4f} px."
            yield f'<p class="small" {_at(run, [one.epoch])}>{safe(f"{text} {_facts(sample)}")}</p>'
        yield f'<div class="looks">{_own(sample)}'
        for one in some:
            yield _predicted(run, one, sample)
        yield "</div></div>"


def _end(one: ShownEpoch, which: str) -> Scored:
    return one.best_sample if which == "best" else one.worst_sample


def _facts(sample: ShownSample) -> str:
    height, width = sample.window
    place = "all that is known of its frames"
    if sample.place is not None:
        place = f"from row {sample.place[0]}, column {sample.place[1]} of its frames"
    return (
        f"{height} x {width} px (H x W) are scored, {place}; an all-zero flow scores "
        f"{sample.zero_flow:.4f} px."
    )


def _own(sample: ShownSample, *, wheel: bool = False) -> str:
    """Return a sample's own images: both frames, the label, and the wheel of its colours."""
    name, full = sample.id, f"{sample.flow_scale:.4g} px"
    first, second = (
        _figure(frame, f"frame {place}", f"frame {place} of {name}", _outline(sample))
        for place, frame in enumerate(sample.frames)
    )
    true = _figure(sample.true, f"true flow, full at {full}", f"true flow of {name}")
    return f'<div class="own">{first}{true}{second}{_wheel() if wheel else ""}</div>'


def _wheel() -> str:
    image = base64.b64encode(png(wheel_image())).decode("ascii")
    picture = f'<img alt="colours of flow by its direction" src="data:image/png;base64,{image}">'
    return f'<figure class="wheel">{picture}<figcaption>its colours</figcaption></figure>'


def _predicted(run: Pictured, one: ShownEpoch, sample: ShownSample) -> str:
    """Return what was predicted after an epoch: the best arch at the left, errors below."""
    flows = one.flows[sample.key]
    called = ("best arch", "worst arch")[: len(flows)] if len(flows) > 1 else ("only arch",)
    shown = [
        *(_flow(flow, name, sample) for flow, name in zip(flows, called, strict=True)),
        *(_error(flow, name, sample) for flow, name in zip(flows, called, strict=True)),
    ]
    return f'<div class="own" {_at(run, [one.epoch])}>{"".join(shown)}</div>'


def _flow(flow: ShownFlow, name: str, sample: ShownSample) -> str:
    caption = f"{name}: EPE {flow.arch.epe:.4f} px"
    return _figure(flow.predicted, caption, f"flow of {sample.id} that {flow.arch.name} predicts")


def _error(flow: ShownFlow, name: str, sample: ShownSample) -> str:
    caption = f"error of the {name}, light at {sample.error_scale:.4g} px"
    return _figure(flow.error, caption, f"error of {flow.arch.name} on {sample.id}")


def _figure(image: bytes, caption: str, text: str, outline: str = "") -> str:
    data = base64.b64encode(image).decode("ascii")
    shown = f'<img alt="{safe(text)}" src="data:image/jpeg;base64,{data}">'
    return figure(shown, caption, outline)


def _outline(sample: ShownSample) -> str:
    if sample.place is None:
        return ""
    return window_outline(sample.place, sample.window, sample.frame)
