"""What a Keras trainer gives to fit, in each form that fit takes, is scored and trained."""

import numpy as np
import pytest

CONFIG = {"runtime": {"seed": 3}, "train": {"num_epochs": 2}}
FORMS = ("list", "generator", "dataset", "pydataset", "two inputs")


@pytest.fixture(scope="module")
def small():
    """Return the class of a small trainer; Keras is imported here alone, TensorFlow with it."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    from harness.keras_system import KerasSystem

    class Numbered(keras.utils.PyDataset):
        """Batches by their number, as a PyDataset has them; without an end of its own."""

        def __init__(self, batches):
            super().__init__()
            self.batches = batches

        def __len__(self):
            return len(self.batches)

        def __getitem__(self, index):
            return self.batches[index % len(self.batches)]

    def epe(y, flow):
        return keras.ops.sqrt(keras.ops.sum((y - flow) ** 2, axis=-1))

    class Small(KerasSystem):
        """A kernel that turns a pixel into its flow; 5 samples in batches of 2, 2 and 1."""

        form = "list"

        def setup(self, config):
            keras.utils.set_random_seed(config["runtime"]["seed"])
            pixels = keras.Input((4, 6, 3))
            other = keras.Input((4, 6, 3))
            made = keras.layers.Conv2D(2, 1, name="head")(pixels)
            several = self.form == "two inputs"
            made = made + 0 * other[..., :2] if several else made
            self.model = keras.Model([pixels, other] if several else pixels, made)
            self.model.compile(keras.optimizers.Adam(0.1), loss="mse", metrics=[epe])

        def given(self, seed):
            rng = np.random.default_rng(seed)
            x, y = (rng.normal(size=(5, 4, 6, c)).astype(np.float32) for c in (3, 2))
            batches = [(x[i : i + 2], y[i : i + 2]) for i in (0, 2, 4)]
            if self.form == "two inputs":
                return [((x, 1 + x), y) for x, y in batches]
            if self.form == "generator":
                return (batch for batch in batches)
            if self.form == "dataset":
                import tensorflow as tf

                return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
            return Numbered(batches) if self.form == "pydataset" else batches

        def training(self, epoch):
            return self.given(epoch)

        def validation(self):
            return self.given(0)

    return Small


@pytest.fixture
def opened(small):
    """Return what opens the trainer with data of a form."""

    def make(form):
        system = type("Formed", (small,), {"form": form})()
        system.open(CONFIG)
        return system

    return make


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_data_is_trained_and_scored_alike(form, opened):
    system, plain = opened(form), opened("list")
    runs = [one.train(2) for one in (system, plain)]
    losses = [[step["loss"] for step in run["steps"]] for run in runs]
    assert [(s["epoch"], s["step"]) for s in runs[0]["steps"]] == [
        (e, s) for e in (1, 2) for s in (1, 2, 3)
    ]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 6
    scores = [one.evaluate()["per_sample"]["net"] for one in (system, plain)]
    assert len(scores[0]) == 5
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_step_has_its_own_loss_and_a_cut_epoch_goes_on(opened):
    whole, cut = opened("list"), opened("list")
    straight = whole.train(1)["steps"]
    parts = [cut.train(1, steps=2)["steps"], cut.train(1)["steps"]]
    assert [len(part) for part in parts] == [2, 1]
    assert parts[0] + parts[1] == straight
    x, y = cut.training(1)[0]
    start = opened("list")
    expected = float(np.mean((np.asarray(start.model(x)) - y) ** 2))
    assert straight[0]["loss"] == pytest.approx(expected, rel=1e-5)
    states = [one.state() for one in (whole, cut)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_instances_have_the_same_names_and_generators_of_their_own(opened):
    first = opened("list")
    names = set(first.state())
    before = first.state()["progress/numpy"]
    second = opened("list")
    second.train(1)
    np.random.seed(99)  # noqa: NPY002 -- somebody else draws from the process's own
    assert set(second.state()) == names
    assert {"head/kernel", "progress/epoch_and_step", "progress/python"} <= names
    assert np.array_equal(first.state()["progress/numpy"], before)


@pytest.mark.slow
def test_a_callback_that_is_kept_goes_on_unless_it_ends_with_fit(small):
    import keras

    class GoesOn(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.told = []

        def on_train_begin(self, logs=None):
            self.told.append("begin")

    class Ends(GoesOn):
        def on_train_end(self, logs=None):
            self.told.append("end")

    kept = GoesOn(), Ends()

    class Kept(small):
        def fit(self, data, **how):
            super().fit(data, **{**how, "callbacks": [*how["callbacks"], *kept]})

    system = Kept()
    system.open(CONFIG)
    system.train(1, steps=1)
    system.train(2)
    assert [one.told for one in kept] == [["begin"], ["begin", "end"] * 3]


@pytest.mark.slow
def test_what_is_written_is_what_is_offered(small):
    assert "train" in small().describe()["can"]
    assert "batches" not in small().describe()["can"]
    told = type("Told", (small,), {"serve": lambda self, role, epoch: []})()
    assert "batches" in told.describe()["can"]
    with pytest.raises(ValueError, match=r"serve\('eval'\) tells of 0 batches, 3 are given"):
        told.batches("eval")
    bare = type("Bare", (small,), {"setup": small.__mro__[1].setup})
    with pytest.raises(NotImplementedError, match=r"has to write setup\(\)"):
        bare().open(CONFIG)
