"""Pictures of a training run: taken at each evaluation, and handed to whoever keeps them."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from harness.errors import is_out_of_memory, one_line
from harness.fc2.errors import SampleError
from harness.records.picture_files import FOLDER, PictureWriter
from harness.records.pictures import Pictures
from harness.records.records import EvalRecord, Record
from harness.runs.stop import say

if TYPE_CHECKING:
    from harness.runs.session import Session

__all__ = ["PictureObserver", "PictureRecorder", "evaluation"]


@runtime_checkable
class PictureObserver(Protocol):
    """An observer that takes pictures of evaluations as well."""

    def pictured(self, pictures: Pictures) -> None:
        """Take those of an evaluation; its record comes after them."""


class PictureRecorder:
    """Observer that keeps pictures in a run directory, where that can be written to.

    Parameters
    ----------
    folder : pathlib.Path
        Run directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._write = folder / FOLDER, PictureWriter(folder / FOLDER)
        self._said = False

    def __call__(self, record: Record) -> None:
        """Do nothing: a record says nothing of pictures."""

    def pictured(self, pictures: Pictures) -> None:
        """Write the pictures of an evaluation; say once if they cannot be written."""
        try:
            self._write(pictures)
        except OSError as error:
            # Days of training are worth more than what one would have looked at.
            if not self._said:
                why = f"{error.filename}: {error.strerror}"
                say(f"note: no pictures of epoch {pictures.epoch}, the run goes on: {why}")
            self._said = True


def evaluation(
    session: "Session", observers: Sequence[Callable[[Record], None]]
) -> Callable[..., EvalRecord]:
    """Return the session's evaluation, which hands pictures to those observers that take them."""
    takers = list(_takers(observers))
    count = session.config.runtime.pictures
    if not takers or not count:
        return session.evaluate
    whole = lru_cache(maxsize=count + 2)(partial(_whole_frames, session))
    said = list[str]()

    def evaluate(weights: dict[str, Any], epoch: int, **options: Any) -> EvalRecord:
        from harness.evaluation.pictures import take_pictures

        batches = session.fixed.eval_batches()

        def look(*found: Any) -> None:
            try:
                pictures = take_pictures(
                    session.evaluator, weights, batches, count, whole, *found
                )  # fmt: skip
            except Exception as error:
                # What an evaluation fits into may not hold these as well.
                if not is_out_of_memory(error):
                    raise
                if not said:
                    said.append(f"note: no pictures, the run goes on: {one_line(error)}")
                    say(said[0])
                return
            for one in takers:
                one.pictured(pictures)

        return session.evaluate(weights, epoch, look=look, **options)

    return evaluate


def _takers(observers: Sequence[Callable[[Record], None]]) -> Iterator[PictureObserver]:
    for one in observers:
        if isinstance(one, PictureObserver):
            yield one


def _whole_frames(session: "Session", name: str) -> NDArray[np.uint8] | None:
    """Return the whole frames of a validation sample; None where they are not known."""
    for triplet in session.fixed.samples("val"):
        if triplet.id == name:
            try:
                return session.parts.data.decode(triplet).frames
            except (SampleError, OSError):
                # The window itself is shown; who needs the file says what is wrong with it.
                return None
    return None
