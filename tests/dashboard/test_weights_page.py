"""The weights page: networks at hand with their cards, weights of others brought in, exports."""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from apps import codes, opened, said
from streamlit.testing.v1 import AppTest

from cxr.models import build, load_model, save_model
from cxr.runs import Run

CLASSES = ("covid19", "normal", "pneumonia")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir(exist_ok=True)
    return folder


def importing() -> AppTest:
    app = opened("weights")
    return app.segmented_control(key="weights:section").set_value("Import").run()


def resnet_bytes(**changed: torch.Tensor) -> bytes:
    torch.manual_seed(0)
    held = io.BytesIO()
    torch.save({"state_dict": torchvision.models.resnet18(num_classes=3).state_dict() | changed}, held)
    return held.getvalue()


def uploaded(content: bytes, name: str = "theirs.pth") -> AppTest:
    app = importing()
    app.file_uploader(key="weights:upload").set_value((name, content, "application/octet-stream"))
    return app.run()


def field(kind: object, part: str) -> object:
    return next(widget for widget in kind if part in widget.label)


def send(app: AppTest) -> AppTest:
    next(button for button in app.button if button.label == "Import").click()
    return app.run()


def commands(app: AppTest) -> str:
    return "\n".join(code for code in codes(app))


def test_networks_at_hand_are_listed_and_the_chosen_one_s_card_is_readable(trained: Run, weights: Path) -> None:
    app = opened("weights", model=trained.id)
    assert not app.exception
    assert not app.error
    table = app.dataframe[0].value
    assert list(table.columns)[-2:] == ["licence", "classes"], "what is widest comes last"
    assert set(table["from"]) == {"training here", "file"}
    assert "demo" in table["network"].tolist()
    assert f"## {table.set_index('from').at['training here', 'network']}" in said(app), (
        "the run's name, not its recipe's"
    )
    assert "# Figures" in said(app)
    assert "| test |" in said(app)
    assert f"cxr weights export {trained.id} --format onnx" in commands(app)


def test_an_export_is_made_on_demand_and_says_how_far_its_logits_are(weights: Path) -> None:
    save_model(build("densenet-small", CLASSES, size=32, backbone_args={"growth_rate": 4, "block_config": [2, 2]}),
               weights / "small.safetensors")  # fmt: skip
    app = opened("weights", model="small")
    assert [button.label for button in app.download_button] == ["Card (Markdown)"]
    for format, file in (("onnx", ".onnx"), ("timm", "-timm.zip")):
        app.button(key=f"weights:export:{format}:small").click().run()
        assert not app.exception
        assert app.download_button(key="weights:download").label.endswith(file)
        assert "logits differ from the original's by at most" in said(app)


def test_the_zip_of_a_timm_folder_holds_its_three_files(tmp_path: Path, weights: Path) -> None:
    from cxr.models.export import export

    from sections.weights import export_weights

    model = build("densenet-small", CLASSES, size=32, backbone_args={"growth_rate": 4, "block_config": [2, 2]})
    packed = export_weights._packed(export(model, tmp_path / "folder", "timm"))
    assert zipfile.ZipFile(io.BytesIO(packed)).namelist() == ["README.md", "config.json", "model.safetensors"]


def test_an_upload_becomes_weights_once_its_classes_are_named(weights: Path) -> None:
    app = uploaded(resnet_bytes())
    assert not app.exception
    assert "resnet18, 3 channels, 3 outputs" in said(app)
    assert "The file does not state: classes" in said(app)
    field(app.text_area, "Names of the 3 outputs").input("covid19, normal, pneumonia")
    field(app.selectbox, "Task").select("single-label")
    field(app.text_input, "Image size").input("64")
    app = send(app)
    assert not app.exception
    assert not app.error
    assert "Imported as theirs" in said(app)
    assert "--classes covid19,normal,pneumonia" in commands(app)
    model = load_model("theirs")
    assert (model.classes, model.card.size, model.card.mean) == (CLASSES, 64, (0.485, 0.456, 0.406))
    app = next(button for button in app.button if button.label == "See its card").click().run()
    assert app.selectbox(key="pick:model").value == "theirs"


@pytest.mark.parametrize(
    ("label", "typed", "words"),
    [("Names of the", "covid19, normal", "has 3 outputs, but 2 classes"), ("Image size", "huge", "size 'huge'")],
)
def test_a_wrong_answer_is_reported_in_one_line_and_what_was_typed_stays(
    weights: Path, label: str, typed: str, words: str
) -> None:
    app = uploaded(resnet_bytes())
    field(app.text_area, "Names of the 3 outputs").input("covid19, normal, pneumonia")
    field(app.selectbox, "Task").select("single-label")
    field([*app.text_area, *app.text_input], label).input(typed)
    app = send(app)
    assert not app.exception
    assert words in app.error[0].value
    assert field([*app.text_area, *app.text_input], label).value == typed
    assert list(weights.iterdir()) == []


def test_without_a_task_the_form_says_so(weights: Path) -> None:
    app = uploaded(resnet_bytes())
    field(app.text_area, "Names of the 3 outputs").input("covid19, normal, pneumonia")
    app = send(app)
    assert "give “Task” (single-label (softmax) or multi-label" in app.error[0].value


def test_weights_of_a_taken_name_are_replaced_only_on_request(weights: Path) -> None:
    save_model(build("densenet-small", CLASSES, size=32), weights / "theirs.safetensors")
    app = uploaded(resnet_bytes())
    field(app.text_area, "Names of the 3 outputs").input("covid19, normal, pneumonia")
    field(app.selectbox, "Task").select("single-label")
    app = send(app)
    assert "already exists" in app.error[0].value
    field(app.checkbox, "Replace").check()
    app = send(app)
    assert not app.error
    assert load_model("theirs").card.backbone == "resnet18"


def test_a_file_that_does_not_fit_shows_which_tensors(weights: Path) -> None:
    app = uploaded(resnet_bytes(stranger=torch.zeros(2, 5)))
    assert not app.exception
    assert "Nothing is imported in part" in app.error[0].value
    misfits = app.dataframe[0].value
    assert misfits["tensor"].tolist() == ["stranger"]
    assert misfits["in the file"].tolist() == ["2x5"]
    assert not [button for button in app.button if button.label == "Import"]


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no zip"])
def test_a_damaged_upload_is_reported_in_one_line(weights: Path, content: bytes) -> None:
    app = uploaded(content)
    assert not app.exception
    assert "\n" not in app.error[0].value


def test_a_whole_pickled_model_in_dataparallel_is_imported_with_its_licence_on_the_card(weights: Path) -> None:
    torch.manual_seed(0)
    held = io.BytesIO()
    network = torch.nn.DataParallel(torchvision.models.resnet18(num_classes=2))
    torch.save(network, held, _use_new_zipfile_serialization=False)
    app = uploaded(held.getvalue(), "whole.pt")
    assert not app.error
    assert "A whole pickled model (torch.nn.parallel.data_parallel.DataParallel): its tensors were read" in said(app)
    field(app.text_area, "Names of the 2 outputs").input("effusion, none")
    field(app.selectbox, "Task").select("multi-label")
    licence = field(app.text_input, "Licence")
    assert (licence.value, licence.placeholder) == ("", "unknown")
    licence.input("CC-BY-4.0")
    app = send(app)
    assert not app.exception
    assert "Licence: CC-BY-4.0" in app.success[0].value
    assert load_model("whole").card.licence == "CC-BY-4.0"


def test_a_network_of_the_paper_s_authors_comes_with_its_licence_and_origin(weights: Path) -> None:
    (weights / "NetD.pt").write_bytes(b"")
    torch.save(torchvision.models.densenet121(num_classes=3).state_dict(), weights / "NetD.pt")
    app = importing()
    app.segmented_control(key="weights:from").set_value("A file in the folder of weights").run()
    assert field(app.text_input, "Licence").value == "GPL-3.0"
    assert "PedroRASB/COVID-19-Twice-Transfer-DNNs" in field(app.text_input, "Where the weights come from").value
    assert "may be passed on only under the same licence" in said(app)


def test_tensors_beside_the_network_are_named(weights: Path) -> None:
    torch.manual_seed(0)
    held = io.BytesIO()
    state = {f"model.{n}": t for n, t in torchvision.models.resnet18(num_classes=3).state_dict().items()}
    torch.save({"state_dict": state | {"criterion.pos_weight": torch.ones(3)}}, held)
    app = uploaded(held.getvalue(), "lightning.ckpt")
    assert not app.error
    assert "The network has no place for 1 tensor of the file, ignored here: criterion.pos_weight." in said(app)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5 file, as Keras"),
        ("NetA.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 7\n", "run `git lfs pull`"),
    ],
)
def test_an_upload_that_is_something_else_is_named_for_what_it_is(
    weights: Path, name: str, content: bytes, words: str
) -> None:
    app = uploaded(content, name)
    assert not app.exception
    assert words in app.error[0].value
    assert "\n" not in app.error[0].value


def test_files_as_large_as_the_paper_s_may_be_uploaded(weights: Path) -> None:
    uploader = importing().file_uploader(key="weights:upload")
    assert uploader.proto.max_upload_size_mb >= 120
    assert f"up to {uploader.proto.max_upload_size_mb} MB" in uploader.label
    config = tomllib.loads((Path(__file__).parents[2] / "dashboard" / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] == uploader.proto.max_upload_size_mb, "the server refuses what is larger"


def test_a_file_in_the_folder_of_weights_is_offered_and_one_with_a_card_is_not(weights: Path) -> None:
    app = importing()
    app.segmented_control(key="weights:from").set_value("A file in the folder of weights").run()
    assert "There is no weights file without a card" in said(app)
    (weights / "NetD.pt").write_bytes(resnet_bytes())
    save_model(build("densenet-small", CLASSES, size=32), weights / "ours.safetensors")
    app.run()
    assert not app.exception
    assert app.selectbox(key="weights:file").options == ["NetD.pt"]
    assert "resnet18" in said(app)
    assert f"cxr weights import {weights / 'NetD.pt'}" in commands(app)


def test_a_backbone_that_the_tensors_do_not_tell_has_to_be_named(weights: Path) -> None:
    import timm

    held = io.BytesIO()
    torch.save(timm.create_model("mobilenetv3_small_050", num_classes=2, in_chans=1).state_dict(), held)
    app = uploaded(held.getvalue())
    assert not app.exception
    app.text_input(key="weights:backbone").input("mobilenetv3_small_050").run()
    assert not app.error
    assert "mobilenetv3_small_050, 1 channel, 2 outputs" in said(app)
    app.text_input(key="weights:backbone").input("mobilenet9").run()
    assert "'mobilenet9' is not known" in app.error[0].value
    assert app.text_input(key="weights:backbone").value == "mobilenet9"
