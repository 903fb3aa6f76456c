"""Models made at random are stored and read again, or refused with a sentence."""

from tests.model.stored_form.generated import LEAST_STORED, run


def test_no_value_of_a_generated_model_is_lost_or_changed() -> None:
    counts, faults, refusals = run(models=150, seed=0)
    assert faults == []
    assert all("cannot be stored" in text or "does not fit its model" in text for text in refusals)
    assert counts["stored"] > LEAST_STORED * counts.total()
