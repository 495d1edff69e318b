"""Pictures: which images are chosen, what is made of them, and how the page shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_jobs import JPEG, Behaviour
from media_example import kept, run_with
from page_reader import Page
from project import Project

from pytest_trtgate import report
from pytest_trtgate.judge.accuracy.agreement import Detections
from pytest_trtgate.judge.accuracy.disagreement import disagreements
from pytest_trtgate.judge.accuracy.likeness import Forms
from pytest_trtgate.measuring.pictures import MOST_POINTS, shape_of
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.media import BOOK, Picture, PictureBook, Shape
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.report.media import Media, find_media
from pytest_trtgate.report.page import html, pictures_view
from pytest_trtgate.report.page.pictures_view import LABELLED, CellPicturesView, Sprite, picture_views

PRECISION = "--trt-precision=int8"
HERE = (10.0, 10.0, 30.0, 30.0)
MOVED = (14.0, 10.0, 34.0, 30.0)  # overlap 0.67 with the above
ELSEWHERE = (50.0, 50.0, 70.0, 70.0)


def found(*rows: tuple[int, int, float, tuple[float, ...]]) -> Detections:
    """Return detections, given as image, class, confidence and box, upright or rotated."""
    boxes = np.array([row[3] for row in rows]).reshape(len(rows), len(rows[0][3]) if rows else 4)
    image, cls, conf = (np.array([row[i] for row in rows]) for i in range(3))
    return Detections(image.astype(int), cls.astype(int), conf.astype(float), boxes)


# The choice


def test_arms_that_find_the_same_do_not_disagree() -> None:
    both = found((0, 0, 0.9, HERE), (1, 1, 0.8, ELSEWHERE))
    assert disagreements(both, both, 0.25) == ()
    assert disagreements(found(), found(), 0.25) == ()


@pytest.mark.parametrize(
    ("reference", "engine", "marks", "badness"),
    [
        ([(0, 0, 0.9, HERE)], [], (["missed"], []), 0.9),
        ([], [(0, 0, 0.4, HERE)], ([], ["extra"]), 0.4),
        ([(0, 0, 0.5, HERE)], [(0, 1, 0.7, HERE)], (["class"], ["class"]), 0.7),
        ([(0, 0, 0.9, HERE)], [(0, 0, 0.9, MOVED)], (["shifted"], ["shifted"]), 1 / 3),
        ([(0, 0, 0.9, HERE)], [(0, 0, 0.9, ELSEWHERE)], (["missed"], ["extra"]), 1.8),
        # An object of the same class is rather the same object than one of another class at the very place.
        (
            [(0, 0, 0.9, HERE)],
            [(0, 1, 0.9, HERE), (0, 0, 0.5, MOVED)],
            (["shifted"], ["extra", "shifted"]),
            0.9 + 1 / 3,
        ),
    ],
    ids=["missed", "extra", "class", "shifted", "elsewhere", "same-class-first"],
)
def test_each_kind_of_difference_has_its_mark_and_weight(
    reference: list[Any], engine: list[Any], marks: tuple[list[str], list[str]], badness: float
) -> None:
    (one,) = disagreements(found(*reference), found(*engine), 0.25)
    assert ([mark for _, mark in one.reference], [mark for _, mark in one.engine]) == marks
    assert one.badness == pytest.approx(badness, abs=0.01)


def test_the_worst_image_comes_first_and_what_is_not_deployed_does_not_count() -> None:
    reference = found((0, 0, 0.3, HERE), (1, 0, 0.9, HERE), (2, 0, 0.3, HERE), (3, 0, 0.2, HERE), (4, 0, 0.9, HERE))
    engine = found((4, 0, 0.26, HERE))
    worst = disagreements(reference, engine, 0.25)
    assert [x.image for x in worst] == [1, 0, 2]
    assert disagreements(reference, found((4, 0, 0.24, HERE)), 0.25)[0].image in (1, 4)


def test_detections_of_an_image_come_with_the_surest_first() -> None:
    reference = found((0, 0, 0.4, ELSEWHERE), (0, 0, 0.9, HERE))
    (one,) = disagreements(reference, found((0, 0, 0.9, HERE)), 0.25)
    assert one.reference == ((1, "same"), (0, "missed"))


def test_rotated_boxes_are_compared_as_such() -> None:
    # Crossed: the upright boxes around them are the same.
    one, other = (found((0, 0, 0.9, (50, 50, 60, 6, turn))) for turn in (0.785, -0.785))
    (crossed,) = disagreements(one, other, 0.25)
    assert (crossed.reference, crossed.engine) == (((0, "missed"),), ((0, "extra"),))
    assert disagreements(one, one, 0.25) == ()
    (moved,) = disagreements(one, found((0, 0, 0.9, (51, 49, 60, 6, 0.785))), 0.25)
    assert moved.reference == ((0, "shifted"),)


# The same boxes, and other masks or keypoints

BOX = (0.0, 0.0, 100.0, 100.0)
SQUARE = [[10, 10], [90, 10], [90, 90], [10, 90]]
BAND = [[10, 10], [90, 10], [90, 50], [10, 50]]
MIRRORED = [[90, 10], [10, 10], [10, 50], [90, 50]]
JOINTS = [[10, 10, 0.9], [90, 10, 0.9], [50, 50, 0.9], [10, 90, 0.9], [90, 90, 0.1]]


def masks(*lines: list[list[int]]) -> Forms:
    points = np.array([point for line in lines for point in line], dtype=np.float32).reshape(-1, 2)
    return Forms(outline=points, outline_points=np.array([len(line) for line in lines]))


def poses(*keypoints: list[list[float]]) -> Forms:
    return Forms(keypoints=np.array(keypoints, dtype=np.float32))


def moved(number: int, by: float, seen: float = 0.9) -> list[list[float]]:
    """Return the keypoints with one of them elsewhere."""
    return [[x + by, y, seen] if at == number else [x, y, v] for at, (x, y, v) in enumerate(JOINTS)]


@pytest.mark.parametrize(
    ("forms", "badness"),
    [
        ((masks(SQUARE), masks(SQUARE)), None),
        ((masks(SQUARE), masks(BAND)), 0.5),
        ((masks(BAND), masks(MIRRORED)), None),  # another order of the same points
        ((masks(SQUARE), masks([])), 1.0),
        ((masks([]), masks([])), None),
        ((masks(SQUARE), Forms()), None),  # a record of an older version
        ((poses(JOINTS), poses(JOINTS)), None),
        ((poses(JOINTS), poses(moved(0, 80.0))), 0.25),  # a quarter of those that are seen
        ((poses(JOINTS), poses(moved(0, 3.0))), None),
        ((poses(JOINTS), poses(moved(4, 80.0, seen=0.2))), None),  # seen by neither
        ((poses(JOINTS), poses(moved(4, 80.0, seen=0.9))), 0.2),
        ((poses([j[:2] for j in JOINTS]), poses([j[:2] for j in moved(1, -60.0)])), 0.2),
        ((poses(JOINTS), Forms()), None),
    ],
)
def test_masks_and_keypoints_that_differ_at_the_same_box_are_shown(
    forms: tuple[Forms, Forms], badness: float | None
) -> None:
    both = found((0, 0, 0.9, BOX))
    worst = disagreements(both, both, 0.25, forms)
    assert [x.badness for x in worst] == ([] if badness is None else [pytest.approx(badness, abs=0.03)])
    assert {mark for x in worst for _, mark in (*x.reference, *x.engine)} == ({"shifted"} if worst else set())


def test_masks_and_keypoints_are_those_of_the_pair_and_do_not_hide_a_shifted_box() -> None:
    # The engine has them in the other order, and boxes that nobody is sure of in between.
    mine = found((0, 0, 0.9, BOX), (0, 1, 0.8, BOX))
    theirs = found((0, 1, 0.9, BOX), (0, 0, 0.1, BOX), (0, 0, 0.8, BOX))
    assert disagreements(mine, theirs, 0.25, (masks(SQUARE, BAND), masks(BAND, [], SQUARE))) == ()
    (one,) = disagreements(mine, theirs, 0.25, (masks(SQUARE, BAND), masks(SQUARE, [], SQUARE)))
    assert one.reference == ((0, "same"), (1, "shifted"))
    (one,) = disagreements(found((0, 0, 0.9, HERE)), found((0, 0, 0.9, MOVED)), 0.25, (masks(SQUARE), masks(SQUARE)))
    assert one.badness == pytest.approx(1 / 3, abs=0.01)


def test_keypoints_are_measured_by_the_size_of_the_object() -> None:
    forms = poses(JOINTS), poses([[x + 6, y, v] for x, y, v in JOINTS])
    large, small = (found((0, 0, 0.9, (0, 0, side, side))) for side in (200, 60))
    assert disagreements(large, large, 0.25, forms) == ()
    assert len(disagreements(small, small, 0.25, forms)) == 1


# What is drawn of them


def arrays(**shapes: Any) -> dict[str, Any]:
    """Return per-image arrays of two detections, with some of their shapes."""
    boxes = np.array([HERE, ELSEWHERE], dtype=np.float32)
    given = {f"pred_{name}": np.array(values, dtype=np.float32) for name, values in shapes.items()}
    return {"names": np.array(["star"]), "pred_cls": np.array([0, 0]), "pred_box": boxes, **given}


def test_a_rotated_box_is_drawn_with_its_own_corners() -> None:
    turned = [[50, 40, 20, 10, np.pi / 2], [50, 40, 20, 20, np.pi / 4]]
    shapes = [shape_of(arrays(rbox=turned), "pred", index) for index in (0, 1)]
    assert shapes[0].points == ((55, 30), (55, 50), (45, 50), (45, 30))
    assert shapes[1].points == ((50, 25.9), (64.1, 40), (50, 54.1), (35.9, 40))


def test_a_mask_is_drawn_by_its_outline_and_by_its_box_where_it_has_none() -> None:
    round_the_clock = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = np.stack([100 + 50 * np.cos(round_the_clock), 100 + 50 * np.sin(round_the_clock)], axis=1)
    triangle = [[1, 2], [9, 2], [5, 8]]
    whole = arrays(outline=[*circle, *triangle]) | {"pred_outline_points": np.array([500, 3])}
    points = shape_of(whole, "pred", 0).points
    assert MOST_POINTS - 2 <= len(points) <= MOST_POINTS
    assert all(np.hypot(x - 100, y - 100) == pytest.approx(50, abs=0.1) for x, y in points)
    assert {(x > 100, y > 100) for x, y in points} == {(False, False), (False, True), (True, False), (True, True)}
    assert shape_of(whole, "pred", 1).points == ((1, 2), (9, 2), (5, 8))
    without = arrays(outline=triangle) | {"pred_outline_points": np.array([0, 3])}
    assert shape_of(without, "pred", 0).points == ((10, 10), (30, 30))
    assert shape_of(without, "pred", 1).points == ((1, 2), (9, 2), (5, 8))


def test_keypoints_are_drawn_where_they_are_seen_and_joined_as_limbs(tmp_path: Path) -> None:
    unsure = [[[1, 2, 0.9], [3, 4, 0.4], [float("nan"), 5, 1]]] * 2
    assert shape_of(arrays(keypoints=unsure), "pred", 0).joints == ((1, 2), None, None)
    assert shape_of(arrays(keypoints=[[[0, 0], [3, 4]]] * 2), "pred", 1).joints == (None, (3, 4))
    assert shape_of(arrays(), "pred", 0).joints == ()
    person = [(float(10 * number), 100.0) for number in range(17)]
    joints = (*person[:13], None, *person[14:])  # without the left knee
    corners = ((0, 0), (200, 200))
    few = Shape(label="hand", points=corners, joints=((2, 2), (4, 4)), mark="extra")
    shapes = (Shape(label="person", points=corners, joints=joints, mark="missed"), few)
    (sprite,), cell = views(*kept(tmp_path, reference=shapes, truth=shapes))
    drawn = Page(cell.pictures[0].reference)
    assert len(drawn.all("circle", class_="missed")) == 16
    assert [e.attributes["cx"] for e in drawn.all("circle", class_="extra")] == ["1", "2"]
    (limbs,) = (e.attributes["d"] for e in drawn.all("path") if "limbs" in e.attributes["class"])
    assert limbs.count("M") == 19 - 2
    assert "M25 50L35 50" in limbs  # left shoulder to elbow
    assert "M55 50" not in limbs[limbs.rindex("M55 50L60 50") + 3 :]  # left hip to right hip, and no further
    assert len(Page(sprite.truth).all("circle", class_="truth")) == 18


# A run


def seen(**missed: float) -> Behaviour:
    """Return a model of which some arms miss the objects of the first few images."""
    arms = {"pt": {"score": 0.8}, **{arm: {"score": 0.7, "missed": count} for arm, count in missed.items()}}
    return Behaviour(seen=arms)


def book_of(project: Project) -> dict[str, tuple[Picture, ...]]:
    return load(project.run_folders()[-1] / BOOK, PictureBook).cells


def page_of(project: Project) -> Page:
    return Page(project.page)


def test_a_run_shows_the_images_on_which_its_engines_disagree(project: Project) -> None:
    project.weights(seen(fp16=0, int8=3, fp32=1))
    project.settings(top="pictures = 2")
    project.run().assert_outcomes(passed=6)
    told = {key.split("-")[1]: x for key, x in project.record.pictures.items()}
    assert {arm: (x.images, x.disagreeing, x.kept) for arm, x in told.items()} == {
        "fp32": (4, 1, 1),
        "fp16": (4, 0, 0),
        "int8": (4, 3, 2),
    }
    book = book_of(project)
    (int8,) = (pictures for key, pictures in book.items() if "int8" in key)
    assert [picture.image for picture in int8] == ["images/test/0.png", "images/test/1.png"]
    assert int8[0].badness == pytest.approx(1.6)
    assert [shape.mark for shape in int8[0].reference] == ["missed", "missed"]
    assert int8[0].reference[0] == Shape(label="circle", points=((0, 0), (9, 9)), conf=0.8, mark="missed")
    assert [shape.label for shape in int8[0].truth] == ["circle", "square"]
    assert int8[0].engine == ()
    # What two engines disagree on is made once, and is on the page once.
    request = json.loads((project.run_folders()[-1] / "jobs/pictures/request.json").read_text())
    assert [Path(path).name for path in request["images"]] == ["0.png", "1.png"]
    page = page_of(project)
    assert len(page.all("image")) == 2
    assert len(page.all("svg", class_="shot")) == 2 * 3
    assert "Pictures: 3 of 4 images differ at confidence 0.25; the worst 2" in page.text
    assert "Pictures: engine and .pt agree on every image at confidence 0.25" in page.text
    assert project.job_names("pictures") == ["pictures"]


def test_none_are_made_where_none_are_wanted_or_the_arms_cannot_be_compared(project: Project) -> None:
    project.weights(seen(int8=3))
    project.settings(top="pictures = 0")
    project.run(PRECISION).assert_outcomes(passed=2)
    assert (project.record.pictures, project.job_names("pictures")) == ({}, [])
    project.weights(Behaviour())  # writes no records of images
    project.settings()
    project.run(PRECISION).assert_outcomes(passed=2)
    (told,) = project.record.pictures.values()
    assert told.note.startswith("the arms cannot be compared image by image (")
    assert project.job_names("pictures") == []
    assert "Pictures: no pictures" in page_of(project).text


# The page


def views(run: RunRecord, media: Media, room_bytes: int = 10**6) -> tuple[tuple[Sprite, ...], CellPicturesView]:
    """Return the images of the page, and the pictures of its one cell that has some."""
    sprites, cells = picture_views([run], [media], room_bytes)
    (cell,) = cells.values()
    return sprites, cell


def test_a_picture_is_drawn_over_with_boxes_classes_and_confidences(tmp_path: Path) -> None:
    (sprite,), cell = views(*kept(tmp_path))
    assert cell.says == "40 of 200 images differ at confidence 0.25; the worst 1"
    (picture,) = cell.pictures
    assert picture.says == "1 missed"
    assert views(*kept(tmp_path, left_out=1))[1].pictures[0].says == "1 missed; 1 more not drawn"
    reference, engine = Page(picture.reference), Page(picture.engine)
    assert reference.elements[0].attributes["viewbox"] == "0 0 320 240"
    assert [e.attributes["href"] for e in reference.all("use")] == [f"#{sprite.id}", f"#{sprite.id}-t"]
    assert reference.all("path", class_="missed")[0].attributes["d"] == "M5 10L55 10L55 60L5 60Z"
    assert reference.all("text")[0].content == "missed: star 0.90"
    assert reference.all("title")[0].content == ".pt on 0.jpg: missed: star 0.90"
    assert engine.all("title")[0].content == "engine on 0.jpg: nothing"
    assert Page(sprite.truth).all("text")[0].content == "truth: star"


def test_side_by_side_and_ground_truth_need_no_script() -> None:
    css = (Path(report.__file__).parent / "page" / "templates" / "media.css").read_text(encoding="utf-8")
    assert ".shot > .truth { display: none; }" in css
    assert ".pictures:has(.show-truth:checked) .shot > .truth { display: inline; }" in css
    assert "[id" not in css  # a cell's id begins with the name of its model, which may be any
    # The slider is the script's, and hidden without it.
    assert ".shots .split { display: none;" in css
    assert ".has-js .pictures:has(.overlay:checked) .split { display: block; }" in css


def test_names_from_outside_are_text(tmp_path: Path) -> None:
    payload = "</svg><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    shapes = (Shape(label=payload, points=((1, 1), (2, 2)), conf=0.5, mark="extra"),)
    run, media = kept(tmp_path, image=payload, engine=shapes, truth=shapes, reference=shapes)
    page = Page(html.render([run], [media]))
    assert len(page.all("svg", class_="shot")) == 2
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert "<script>alert(1)</script>" in page.text
    (toggle,) = page.all("input", class_="show-truth")
    assert "js" not in toggle.attributes["class"].split()
    assert page.all("input", type="range")[0].attributes["aria-label"]


def test_odd_shapes_are_drawn_nowhere_or_inside(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    outlines = [((nan, 1), (2, 2)), ((1, 1), (inf, 2)), ((1, 1),), (), ((-50, -50), (5000, 5000))]
    shapes = tuple(Shape(label="odd", points=points, mark="missed") for points in outlines)
    polygon = Shape(label="turned", points=((100, 0), (200, 100), (100, 200), (0, 100)), conf=0.5, mark="shifted")
    drawn = Page(views(*kept(tmp_path, reference=(*shapes, polygon)))[1].pictures[0].reference)
    assert [e.attributes["d"] for e in drawn.all("path", class_="missed")] == ["M0 0L320 0L320 240L0 240Z"]
    assert [e.attributes["d"] for e in drawn.all("path", class_="shifted")] == ["M50 0L100 50L50 100L0 50Z"]


def test_no_name_lies_on_another(tmp_path: Path) -> None:
    near = tuple(Shape(label="star", points=((200, 200), (400, 400)), conf=0.9, mark="extra") for _ in range(4))
    drawn = Page(views(*kept(tmp_path, engine=near))[1].pictures[0].engine)
    places = {(e.attributes["x"], e.attributes["y"]) for e in drawn.all("text")}
    assert len(places) == 4


def test_of_many_names_those_without_a_place_are_left_out() -> None:
    many = [Shape(label="star", points=((0, 0), (640, 480)), conf=0.9, mark="extra") for _ in range(60)]
    picture = Picture(image="0.jpg", file="", width=640, height=480, badness=1, reference=(), engine=tuple(many))
    drawn = Page(f"<svg>{pictures_view._Canvas(picture).draw(many)}</svg>")
    assert len(drawn.all("path")) == 60
    assert len(drawn.all("text")) == LABELLED


def test_no_name_lies_where_the_name_of_the_arm_is(tmp_path: Path) -> None:
    corner = (Shape(label="star", points=((0, 440), (400, 480)), conf=0.9, mark="extra"),)
    drawn = Page(views(*kept(tmp_path, engine=corner, truth=corner))[1].pictures[0].engine)
    (name,) = drawn.all("text")
    assert float(name.attributes["x"]) > 64


def test_equal_images_with_other_labels_have_their_own_ground_truth(tmp_path: Path) -> None:
    run, media = kept(tmp_path, pictures=3, file="0000000000000000.jpg")
    (key,) = run.pictures
    book = load(tmp_path / BOOK, PictureBook).cells[key]
    other = book[1].model_copy(update={"truth": (Shape(label="ring", points=((1, 1), (9, 9))),)})
    save(tmp_path / BOOK, PictureBook(cells={key: (book[0], other, book[2])}))
    (star, ring), cell = views(run, media)
    assert ("truth: star" in star.truth, "truth: ring" in ring.truth) == (True, True)
    shown = [Page(picture.engine).all("use")[0].attributes["href"] for picture in cell.pictures]
    assert shown == [f"#{star.id}", f"#{ring.id}", f"#{star.id}"]


def test_images_that_cannot_be_decoded_are_not_counted_as_shown(project: Project) -> None:
    project.weights(seen(int8=4))
    (project.path / "data/images/test/1.png").write_bytes(b"damaged")
    project.settings(top="pictures = 3")
    project.run(PRECISION).assert_outcomes(passed=2)
    (told,) = project.record.pictures.values()
    assert (told.disagreeing, told.kept, told.undecoded) == (4, 2, 1)
    page = page_of(project)
    assert "4 of 4 images differ at confidence 0.25; 2 of the worst 3" in page.text
    assert "1 image could not be decoded." in page.text


@pytest.mark.parametrize(
    "file",
    [
        "../secret.jpg",
        "/etc/hostname",
        "0000000000000000.png",
        "x" * 16 + ".jpg",
        "",
        "\0.jpg",
        "x" * 10_000 + "/x.jpg",
    ],
)
def test_a_record_cannot_have_any_file_of_the_machine_shown(tmp_path: Path, file: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (tmp_path / "run").mkdir()
    media = Media(tmp_path / "run", tmp_path)
    assert (media.picture(file), media.still(file), media.link(file)) == ("", "", "")


@pytest.mark.parametrize("to", ["../secret.jpg", "/dev/zero", "0000000000000000.jpg"])
def test_a_link_beside_a_record_shows_nothing_from_outside_of_its_folder(tmp_path: Path, to: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    folder = (tmp_path / "run" / BOOK).parent
    folder.mkdir(parents=True)
    (folder / "0000000000000000.jpg").symlink_to(f"../{to}" if to.startswith("..") else to)
    media = Media(tmp_path / "run", tmp_path)
    path = f"{folder.name}/0000000000000000.jpg"
    assert (media.picture("0000000000000000.jpg"), media.still(path), media.link(path)) == ("", "", "")


@pytest.mark.parametrize("content", [b"secret", JPEG + bytes(400_000)], ids=["text", "large"])
def test_what_is_no_jpeg_or_too_large_is_not_shown(tmp_path: Path, content: bytes) -> None:
    sprites, cell = views(*kept(tmp_path, content=content))
    assert (sprites, cell.pictures) == ((), ())
    assert cell.note == "1 picture is in the run's folder, which is not beside this record"


def test_pictures_that_would_make_the_page_too_large_are_left_out_the_least_bad_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, media = kept(tmp_path, pictures=5, content=JPEG + bytes(15_000))
    sprites, cell = views(run, media, 50_000)
    assert [picture.name for picture in cell.pictures] == ["0.jpg", "1.jpg"]
    assert len(sprites) == 2
    assert cell.note == "3 pictures are in the run's folder only, since this page would be too large"
    monkeypatch.setattr(html, "PAGE_BYTES", 20_000)
    assert "5 pictures are in the run's folder only" in Page(html.render([run], [media])).text


def test_pictures_are_found_beside_the_record_or_in_its_run_below_it(tmp_path: Path) -> None:
    run, _ = run_with(1)
    folder = tmp_path / "reports" / "trtgate-runs" / run.run_id
    (folder / "pictures").mkdir(parents=True)
    for place in (folder, tmp_path / "reports"):
        assert find_media(run, place, tmp_path).folder == folder
    assert find_media(run, tmp_path, tmp_path).folder is None
    for run_id in ("../..", "*", "."):
        assert find_media(run.model_copy(update={"run_id": run_id}), tmp_path / "reports", tmp_path).folder is None
    (tmp_path / "reports" / "videos").mkdir()  # of someone else
    assert find_media(run, tmp_path / "reports", tmp_path).folder == folder


def test_a_record_without_its_folder_says_where_the_pictures_are(tmp_path: Path) -> None:
    run, _ = run_with(3)
    for media in ([], [Media(None, tmp_path)]):
        sprites, cells = picture_views([run], media, 10**6)
        assert sprites == ()
        assert [x.note for x in cells.values()] == [
            "3 pictures are in the run's folder, which is not beside this record"
        ]
