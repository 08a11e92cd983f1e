"""Which X-rays are measured, what is left out, and how it is said."""

import pandas as pd
import pytest

from cxr.data import Manifest
from cxr.errors import ManifestError
from cxr.evaluation.selection import EXTERNAL, OWN, select, sentences
from cxr.evaluation.truth import finding_targets, likely_classes, renamed

NETWORK = ("covid19", "normal", "pneumonia")


def manifest(tmp_path, **columns):
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"image": [f"{k}.png" for k in range(n)], "image_id": [f"i{k}" for k in range(n)], **columns})
    return Manifest.from_table(table, tmp_path)


def said(selection, **summaries):
    absent = {name: {"absent": absent} for name, absent in selection.absent.items()}
    return "\n".join(sentences({"splits": absent, **selection.to_dict(), **summaries}))


@pytest.fixture
def spelled(tmp_path):
    """Labels of which one is spelled otherwise than the network has it, one is unknown to it, and one is missing."""
    labels = ["covid"] * 5 + ["normal"] * 4 + ["tuberculosis"] + [""] * 2
    return manifest(tmp_path, label=labels, split=["train", "test"] * 6)


def test_labels_that_the_network_does_not_know_are_counted_and_named(spelled):
    chosen = select(spelled, NETWORK)
    assert chosen.by_split == {"test": ["i5", "i7"]}
    found = chosen.to_dict()
    assert found["measured"] == {"why": "held-out", "splits": {"test": 2}}
    assert found["left_out"]["by_label"] == {"covid": 2, "tuberculosis": 1}
    assert found["left_out"]["by_reason"] == {"unknown-label": 3, "no-label": 1, "other-split": 2, "unreadable": 0}
    assert found["left_out"]["n"] == 6
    assert found["left_out"]["likely"] == {"covid": "covid19"}
    text = said(chosen)
    assert "Left out: 3 X-rays whose label is not a class of the network (covid 2, tuberculosis 1)." in text
    assert "'covid' may be the network's 'covid19': `--alias covid=covid19`" in text
    assert "1 X-ray without a label" in text


def test_splits_that_are_not_measured_by_default_are_said_with_the_option_that_does(spelled):
    chosen = select(spelled, NETWORK)
    assert chosen.other_splits == {"train": 2}
    assert "Not measured: train 2. `--split all` measures them too" in said(chosen)


def test_all_measures_every_split_and_so_does_the_default_for_external_data(spelled):
    asked, external = select(spelled, NETWORK, splits="all"), select(spelled, NETWORK, relation=EXTERNAL)
    for chosen in (asked, external):
        assert chosen.by_split == {"all": ["i5", "i6", "i7", "i8"]}
        assert chosen.other_splits == {}
        assert chosen.to_dict()["left_out"]["by_label"] == {"covid": 5, "tuberculosis": 1}
    assert "No patient and no image file of these data was in the training" in said(external)
    assert "too good if the network was trained on some of them" in said(asked)


def test_data_without_splits_are_measured_whole(tmp_path):
    chosen = select(manifest(tmp_path, label=["normal", "covid19"]), NETWORK)
    assert (chosen.why, chosen.by_split) == ("no-splits", {"all": ["i0", "i1"]})
    assert "The data have no splits" in said(chosen)


def test_a_split_called_all_is_that_split(tmp_path):
    chosen = select(manifest(tmp_path, label=["normal", "normal"], split=["all", "test"]), NETWORK, splits=["all"])
    assert chosen.by_split == {"all": ["i0"]}


def test_what_a_training_did_not_hold_out_of_its_own_data_is_no_news(spelled):
    assert "Not measured" not in said(select(spelled, NETWORK, relation=OWN))


def test_a_class_without_an_image_in_the_measured_split_is_named_with_those_elsewhere(tmp_path):
    data = manifest(tmp_path, label=["normal", "covid19", "covid19"], split=["test", "train", "train"])
    chosen = select(data, NETWORK)
    assert chosen.absent == {"test": {"covid19": 2, "pneumonia": 0}}
    assert "No X-ray of covid19 in split test; in other splits: covid19 2." in said(chosen)
    assert "No X-ray of pneumonia in split test: nothing is said of it." in said(chosen)


def test_images_that_cannot_be_read_are_left_out_and_counted(spelled):
    chosen = select(spelled, NETWORK).without(["i5", "i0"])
    assert chosen.ids == ["i7"]
    assert chosen.to_dict()["left_out"]["by_reason"]["unreadable"] == 1
    assert "Left out: 1 X-ray whose file cannot be read." in said(chosen)


@pytest.mark.parametrize("names", [("a|b", "c=d", "Ünter $x"), ("covid19", "normal", "pneumonia")])
def test_names_with_odd_characters_are_measured_and_left_out_like_any_other(tmp_path, names):
    chosen = select(manifest(tmp_path, label=[*names, "it's"]), names)
    assert chosen.by_split == {"all": ["i0", "i1", "i2"]}
    assert chosen.unknown_labels == {"all": {"it's": 1}}


def test_an_alias_that_a_shell_would_break_is_quoted(tmp_path):
    chosen = select(manifest(tmp_path, label=["no hernia", "hernia"]), ("hernia", "No-Hernia"))
    assert "`--alias 'no hernia=No-Hernia'`" in said(chosen)


def test_where_nothing_fits_the_error_counts_the_labels_and_names_the_alias(tmp_path):
    with pytest.raises(ManifestError, match=r"Labels found: COVID 2, x 1 \(`--alias COVID=covid19`"):
        select(manifest(tmp_path, label=["COVID", "COVID", "x"]), NETWORK)
    with pytest.raises(ManifestError, match=r"split 'probe' is not in the manifest\. Found: test; all measures"):
        select(manifest(tmp_path, label=["normal"], split=["test"]), NETWORK, splits=["probe"])


def test_a_name_is_likely_another_only_where_spelling_alone_differs():
    names = ("Pleural_Thickening", "COVID-19", "Mass")
    likely = likely_classes(["pleural thickening", "covid", "mass", "Mass", "masses", "?", ""], names)
    assert likely == {"pleural thickening": "Pleural_Thickening", "covid": "COVID-19", "mass": "Mass"}


def test_aliases_rename_labels_and_findings_and_name_what_they_do_not_fit(tmp_path):
    data = manifest(tmp_path, label=["covid", "normal"], findings=["?covid|Mass", "No Finding"])
    new = renamed(data, {"covid": "covid19"}, NETWORK, "single-label").table
    assert new["label"].tolist() == ["covid19", "normal"]
    assert new["findings"].tolist() == ["?covid19|Mass", "No Finding"]
    with pytest.raises(ManifestError, match=r"alias covid=covid20: 'covid20'\. Available: covid19"):
        renamed(data, {"covid": "covid20"}, NETWORK, "single-label")
    with pytest.raises(ManifestError, match=r"alias Covid=covid19: 'Covid'\. Available: covid, normal"):
        renamed(data, {"Covid": "covid19"}, NETWORK, "single-label")


@pytest.mark.parametrize("name", ["normal", "Normal", "No Finding"])
@pytest.mark.parametrize("said", ["No Finding", "normal"])
def test_a_class_of_nothing_found_is_there_where_the_data_say_so_and_absent_beside_a_finding(name, said):
    table = pd.DataFrame({"findings": [said, "Mass"], "label": "", "source": "A"})
    assert finding_targets(table, [name, "Mass"]).tolist() == [[1, 0], [0, 1]]


def test_a_finding_is_absent_only_where_its_source_labels_it(tmp_path):
    table = manifest(
        tmp_path,
        findings=["Mass|?Nodule", "Nodule", "No Finding", "", "", "", "No Finding"],
        label=["", "", "", "Nodule", "normal", "covid19", ""],
        source=["A", "A", "A", "A", "A", "A", "B"],
    ).table
    targets = finding_targets(table, ["Mass", "Nodule", "Hernia"])
    none = None
    expected = [[1, none, none], [0, 1, none], [0, 0, none], [none, 1, none], [0, 0, 0], [none] * 3, [0, 0, 0]]
    assert [[none if v != v else v for v in row] for row in targets.tolist()] == expected
    stated = finding_targets(table, ["Mass", "Nodule", "Hernia"], {"A": ["Mass", "Hernia"]})
    assert stated[1, 2] == 0
    assert stated[0, 0] == 1


def test_xrays_of_which_no_finding_is_known_are_left_out_and_unknown_findings_are_counted(tmp_path):
    data = manifest(
        tmp_path,
        findings=["Mass|Fracture", "No Finding", "COVID-19", ""],
        label=["", "", "covid19", ""],
        source=["A", "A", "B", "A"],
    )
    chosen = select(data, ("Mass", "Nodule"), "multi-label")
    assert chosen.by_split == {"all": ["i0", "i1"]}
    assert chosen.unknown_labels == {"all": {"COVID-19": 1}}
    assert chosen.unlabelled == 1
    assert "Findings that are not classes of the network are not measured: Fracture 1." in said(chosen)


def test_a_network_of_one_finding_is_measured_by_labels_that_name_it_or_say_normal(tmp_path):
    data = manifest(tmp_path, label=["pneumonia", "normal", "covid19"])
    chosen = select(data, ("pneumonia",), "multi-label")
    assert chosen.by_split == {"all": ["i0", "i1"]}
    assert chosen.unknown_labels == {"all": {"covid19": 1}}
