"""Who receives the records of a run that a command trains, besides its logs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.bars import bar, is_watched
from harness.commands.common import say
from harness.config import Config
from harness.records.ledger import Ledger
from harness.records.records import Record
from harness.reporting.running import RunningLine
from harness.reporting.tensorboard import TensorBoardObserver, tensorboard_available
from harness.reporting.terminal import ProgressPrinter
from harness.runs.pictures import PictureRecorder
from harness.watch import Watch
from harness.wording import install

__all__ = ["run_observers"]


@contextmanager
def run_observers(
    folder: Path,
    config: Config,
    ledger: Ledger,
    history: Sequence[Record],
    until: int | None = None,
) -> Iterator[Sequence[Callable[[Record], None]]]:
    """Yield the running line, a line an epoch, pictures, TensorBoard if there is one, the watch.

    Parameters
    ----------
    folder : pathlib.Path
        Run directory.
    config : Config
        The run's configuration.
    ledger : Ledger
        Takes the notes of the watch.
    history : sequence of Record
        What earlier attempts left valid.
    until : int, optional
        Epoch after which this attempt ends, where it is not to train them all.
    """
    epochs = config.train.num_epochs
    with ExitStack() as stack:
        drawn = stack.enter_context(bar(1, "", timed=False, stays=False))
        running = RunningLine(
            epochs,
            show=drawn.show if is_watched() else None,
            write=say,
            history=history,
            until=until,
        )
        observers: list[Callable[[Record], None]] = [
            running, ProgressPrinter(say, epochs, running.left),
        ]  # fmt: skip
        if config.runtime.pictures:
            observers.append(PictureRecorder(folder))
        if tensorboard_available():
            board = TensorBoardObserver(folder / "tensorboard")
            stack.callback(board.close)
            observers.append(board)
        else:
            absent = "TensorBoard is not installed, no scalars are written"
            say(f"{absent}: {install('tensorboard')}")
        # Last: a run is stopped once everything that led to it is recorded.
        watch = Watch(config.watch.model_dump(), say=say, observers=(ledger,), history=history)
        yield (*observers, watch)
