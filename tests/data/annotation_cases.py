"""Broken annotation files, each with the one problem that must be told (cases of the issue by number)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ["nose", "left_eye", "right_eye"]
PERSON = {
    "category_id": 1,
    "num_keypoints": 2,
    "bbox": [2, 3, 20, 30],
    "area": 400.5,
    "iscrowd": 0,
}
DOCUMENT = {
    "images": [
        {"id": 3, "file_name": "a.png", "width": 64, "height": 48},
        {"id": 4, "file_name": "deep/b.png", "width": 32, "height": 48},
    ],
    "annotations": [
        {"id": 7, "image_id": 4, "keypoints": [5, 6, 2, 9, 8, 1, 0, 0, 0], **PERSON},
        {"id": 8, "image_id": 3, "keypoints": [5.5, 6, 2, 0, 0, 0, 8, 9, 2], **PERSON},
    ],
    "categories": [
        {
            "id": 1,
            "name": "cat",
            "keypoints": NAMES,
            "skeleton": [[1, 2], [1, 3]],
            "flip_pairs": [["left_eye", "right_eye"]],
            "sigmas": [0.1, 0.2, 0.2],
        }
    ],
}
TEXT = json.dumps(DOCUMENT)
DOCUMENT = json.loads(TEXT)  # shares no list


def changed(path: str, value: Any = ..., document: Any = DOCUMENT) -> Any:
    """`DOCUMENT` with the value at a JSON pointer replaced, or removed where none is given."""
    document = copy.deepcopy(document)
    *parents, last = [int(step) if step.isdigit() else step for step in path.strip("/").split("/")]
    node = document
    for step in parents:
        node = node[step]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


def saved(folder: Path, document: Any) -> Path:
    path = folder / "people.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


class Case(NamedTuple):
    """A file, and the one problem it has: texts are what the message must hold."""

    content: Any
    code: str
    pointer: str
    ids: tuple[Any, Any]
    found: str
    expected: str
    fix: str


NONE = (None, None)
SECOND = (8, 3)
A = "/annotations/1"
C = "/categories/0"
COUNT = "9 numbers: x, y, visibility of 3 keypoints"


def case(path: str, value: Any, code: str, *texts: str, ids: tuple[Any, Any] = SECOND, at: str = "") -> Case:
    """A case that changes one value; the problem is at that value unless said."""
    found, expected, fix = texts
    return Case(changed(path, value), code, at or path, ids, found, expected, fix)


WIDTH = '"width": 64'
BIG = "9007199254740991"
K = f"{A}/keypoints"
CASES = {
    "1 comma at an end": Case(
        TEXT[:-2] + ",]}", "json-trailing-comma", C, NONE, f"a comma before the ']' at line 1, column {len(TEXT)}",
        "JSON", "remove the comma",
    ),
    "1 comma inside an entry": Case(
        TEXT.replace('"iscrowd": 0}', '"iscrowd": 0,\n}', 1), "json-trailing-comma", "/annotations/0", NONE,
        "a comma before the '}' at line 2, column 1", "JSON", "remove the comma",
    ),
    "1 comma after the last key": Case(
        TEXT[:-1] + ",}", "json-trailing-comma", "", NONE, "a comma before the '}' at line 1", "JSON", "remove",
    ),
    "2 cut inside an entry": Case(
        TEXT[: TEXT.index("iscrowd")], "json-truncated", "/annotations/0", NONE, "the end of the file at line 1",
        "JSON", "its end is missing",
    ),
    "2 cut between entries": Case(
        TEXT[: TEXT.index(', {"id": 8') + 2], "json-truncated", "/annotations/1", NONE, "the end of the file", "JSON",
        "its end is missing",
    ),
    "3 empty": Case("", "json-empty", "", NONE, "an empty file", "a JSON document", "write the file again"),
    "3 blank": Case(" \n", "json-empty", "", NONE, "an empty file", "a JSON document", "write the file again"),
    "4 list": Case([DOCUMENT], "not-an-object", "", NONE, "a list", "an object with images", '"annotations": [...]'),
    "4 results": Case(
        [{"image_id": 3, "score": 0.5}], "not-an-object", "", NONE, "a list", "an object", "this is a list of results"
    ),
    "4 MPII": Case(
        [{"image": "a.jpg", "center": [1, 2], "scale": 1}], "not-an-object", "", NONE, "a list", "an object",
        "`posefabric data import mpii`",
    ),
    "4 number": Case("5", "not-an-object", "", NONE, "5", "an object", '"annotations": [...]'),
    "5 byte order mark": Case(
        b"\xef\xbb\xbf" + TEXT.encode(), "json-encoding", "", NONE, "UTF-8 with a byte order mark", "plain UTF-8 text",
        "without a byte order mark",
    ),
    "5 UTF-16": Case(
        TEXT.encode("utf-16"), "json-encoding", "", NONE, "UTF-16 (little endian) with a byte order mark",
        "plain UTF-8 text", "save the file as UTF-8",
    ),
    "5 UTF-16 without a mark": Case(
        TEXT.encode("utf-16-be"), "json-encoding", "", NONE, "UTF-16 (big endian)", "plain UTF-8 text", "save",
    ),
    "5 Latin-1": Case(
        TEXT.replace("cat", "käse").encode("latin-1"), "json-encoding", "", NONE, "is not UTF-8 text", "JSON", "save",
    ),
    "5 gzip": Case(b"\x1f\x8b\x08\x00", "json-encoding", "", NONE, "a gzip archive", "plain UTF-8 text", "unpack it"),
    "6 NaN in an image": Case(
        TEXT.replace(WIDTH, f'"flow": [1, NaN], {WIDTH}'), "not-finite", "/images/0/flow/1", NONE,
        f"NaN at line 1, column {TEXT.index(WIDTH) + 13}", "a finite number", "finite number",
    ),
    "6 Infinity elsewhere": Case(
        TEXT[:-1] + ',\n"info": {"x": -Infinity}}', "not-finite", "/info/x", NONE, "-Infinity at line 2, column 15",
        "a finite number", "finite number",
    ),
    "7 deep": Case(
        '{"annotations": ' + "[" * 10**6, "json-too-deep", "/annotations/0", NONE, "brackets in brackets", "JSON",
        "write the file again",
    ),
    "7 deep list": Case("[" * 10**6, "json-too-deep", "/0", NONE, "brackets in brackets", "JSON", "write the file"),
    "not JSON": Case("{'a': 1}", "json-syntax", "", NONE, "at line 1, column 2 where a key", "JSON", "JSON library"),
    "no comma": Case(
        TEXT.replace('"iscrowd": 0}', '"iscrowd": 0} 5', 1), "json-syntax", "/annotations/0", NONE,
        "where ',' or ']' should be", "JSON", "correct the text there",
    ),
    "two documents": Case(TEXT * 2, "json-syntax", "", NONE, "more text after the end", "JSON", "correct the text"),
    "key again": Case(
        TEXT[:-1] + ', "images": []}', "duplicate-key", "/images", NONE, "the key 'images' again", "each key once",
        "keep one of the two",
    ),
    "key again in an entry": Case(
        TEXT.replace('"iscrowd": 0}', '"iscrowd": 0, "id": 7}', 1), "duplicate-key", "/annotations/0", (7, 4),
        'the key "id" twice', "each key once", "keep one of the two",
    ),
    "9 no annotations": case("/annotations", ..., "missing-section", "nothing", "a list of", "add", ids=NONE),
    "9 empty annotations": case("/annotations", [], "empty-section", "an empty list", "a list", "add", ids=NONE),
    "9 annotations of another type": case("/annotations", {}, "missing-section", "{}", "a list", "add", ids=NONE),
    "entry of another type": case(A, 5, "bad-entry", "5", "an object", "write an object", ids=NONE),
    "12 no keypoint names": case(
        f"{C}/keypoints", ..., "missing-keypoint-names", "nothing", "a list of keypoint names", "list the",
        ids=NONE,
    ),
    "12 names that are none": case(
        f"{C}/keypoints/1", 5, "bad-keypoint-names", "5", "the name of a keypoint", "distinct names", ids=NONE
    ),
    "12 a name twice": case(
        f"{C}/keypoints/2", "nose", "bad-keypoint-names", '"nose" again', "distinct names", "distinct", ids=NONE
    ),
    "13 id 0": case(f"{A}/id", 0, "id-zero", "0", "1 or more", "number annotations from 1", ids=(0, 3)),
    "14 annotation id again": case(f"{A}/id", 7, "duplicate-id", "7 again", "an id that no", "its own", ids=(7, 3)),
    "16 orphan image": case(
        f"{A}/image_id", 5, "unknown-image", "5", "the id of an entry of images", "add the image", ids=(8, 5)
    ),
    "17 orphan category": case(f"{A}/category_id", 5, "unknown-category", "5", "one of 1", "add the category"),
    "18 text id": case(f"{A}/id", "8", "bad-id", '"8" (text)', f"0 to {BIG}", "integers", ids=("8", 3)),
    "18 text image id": case(f"{A}/image_id", "3", "bad-id", '"3" (text)', "an integer", "integers", ids=(8, "3")),
    "18 text category id": case(f"{A}/category_id", "1", "bad-id", '"1" (text)', "an integer", "integers"),
    "19 float id": case(f"{A}/id", 8.0, "bad-id", "8.0 (not an integer)", "an integer", "integers", ids=(None, 3)),
    "19 bool id": case(f"{A}/id", True, "bad-id", "true (a truth value)", "an integer", "integers", ids=(None, 3)),
    "19 negative id": case(f"{A}/id", -8, "bad-id", "-8", "an integer, 0 to", "integers", ids=(-8, 3)),
    "19 huge id": case(f"{A}/id", 2**53, "bad-id", str(2**53), f"0 to {BIG}", "integers", ids=(2**53, 3)),
    "19 missing id": case(f"{A}/id", ..., "bad-id", "nothing", "an integer", "integers", ids=(None, 3)),
    "20 length 8": case(K, [1] * 8, "keypoint-count", "8 numbers", COUNT, "0, 0, 0 where one is not labelled"),
    "21 another skeleton": case(K, [1] * 12, "keypoint-count", "12 numbers", COUNT, "every keypoint of the category"),
    "22 text": case(f"{K}/3", "9", "bad-keypoints", '"9"', "a number", "write numbers"),
    "22 text all over": case(
        K, ["1"] * 9, "bad-keypoints", '"1" and 8 more like it', "a number", "write numbers", at=f"{K}/0"
    ),
    "23 NaN": case(f"{K}/4", float("nan"), "not-finite", "NaN at line 1, column ", "a finite number", "0, 0, 0"),
    "24 Infinity": case(f"{K}/0", float("inf"), "not-finite", "Infinity at line 1", "a finite number", "0, 0, 0"),
    "24 huge": case(f"{K}/0", 10**400, "not-finite", "1000000", "between -1e+09 and 1e+09", "0, 0, 0"),
    "25 visibility 7": case(f"{K}/8", 7, "bad-visibility", "7 (right_eye)", "0, 1 or 2", "write 0 (not labelled)"),
    "26 visibility -1": case(f"{K}/2", -1, "bad-visibility", "-1 (nose)", "0, 1 or 2", "write 0 (not labelled)"),
    "26 scores": case(
        K, [5, 6, 0.5] * 3, "bad-visibility", "0.5 (nose) and 2 more", "0, 1 or 2", "scores stand there", at=f"{K}/2"
    ),
    "27 num_keypoints lies": case(f"{A}/num_keypoints", 3, "num-keypoints", "3", "2, the keypoints with", "above 0"),
    "28 no num_keypoints": case(f"{A}/num_keypoints", ..., "missing-num-keypoints", "nothing", "2", "COCO's own"),
    "29 null": case(K, None, "bad-keypoints", "null", COUNT, "write numbers"),
    "29 null inside": case(f"{K}/1", None, "bad-keypoints", "null", "a number", "write numbers"),
    "30 far outside": case(
        f"{K}/6", 64 + 31, "keypoint-outside", "95, 9 (right_eye)", "in the image of 64 x 48", "pixels of the image"
    ),
    "31 zeros labelled": case(
        K, [0, 0, 2] * 2 + [0, 0, 0], "labelled-at-origin", "2 labelled keypoints, all at 0, 0", "the places", "to 0"
    ),
    "32 sides mixed up": Case(
        changed(f"{C}/keypoints/0", "right_ear", changed(f"{C}/flip_pairs/0/1", "right_ear")), "flip-pair-sides",
        f"{C}/flip_pairs/0", NONE, '["left_eye", "right_ear"]', "left and right alone", "pair each left",
    ),
    "33 three numbers": case(f"{A}/bbox", [1, 2, 3], "bad-box", "3 numbers", "4 numbers: x, y, width", "pixels"),
    "34 negative size": case(f"{A}/bbox", [5, 5, -1, 3], "bad-box", "[5, 5, -1, 3]", "above 0", "not two corners"),
    "34 no size": case(f"{A}/bbox", [5, 5, 0, 3], "bad-box", "[5, 5, 0, 3]", "above 0", "width and height above 0"),
    "35 no box": case(f"{A}/bbox", ..., "bad-box", "nothing", "4 numbers", "x, y, width, height"),
    "35 NaN in a box": case(f"{A}/bbox/1", float("nan"), "not-finite", "NaN at line 1", "a finite number", "finite"),
    "36 area 0": case(f"{A}/area", 0, "bad-area", "0", "above 0", "square pixels"),
    "36 area negative": case(f"{A}/area", -5, "bad-area", "-5", "above 0", "square pixels"),
    "36 area of text": case(f"{A}/area", "5", "bad-area", '"5"', "above 0", "square pixels"),
    "36 no area": case(f"{A}/area", ..., "missing-area", "nothing", "square pixels", "COCO's own"),
    "37 no iscrowd": case(f"{A}/iscrowd", ..., "missing-iscrowd", "nothing", "0 or 1", 'add "iscrowd": 0'),
    "37 iscrowd of text": case(f"{A}/iscrowd", "0", "bad-iscrowd", '"0"', "0 or 1", "write 0"),
    "38 width 0": case("/images/0/width", 0, "bad-size", "0", "1 or more", "pixels", ids=(None, 3)),
    "38 no height": case("/images/0/height", ..., "bad-size", "nothing", "1 or more", "pixels", ids=(None, 3)),
    "39 above": case(
        "/images/0/file_name", "../../etc/passwd", "unsafe-path", '"../../etc/passwd"', "stays inside", "below",
        ids=(None, 3),
    ),
    "39 absolute": case("/images/0/file_name", "/etc/passwd", "unsafe-path", '"/etc', "stays", "below", ids=(None, 3)),
    "39 on a drive": case("/images/0/file_name", "C:\\a", "unsafe-path", '"C:', "stays", "below", ids=(None, 3)),
    "39 zero byte": case("/images/0/file_name", "a\0.png", "bad-file-name", "u0000", "a file", "path", ids=(None, 3)),
    "39 half a character": case(
        "/images/0/file_name", "\ud800", "bad-file-name", "ud800", "a file", "path", ids=(None, 3)
    ),
    "39 no file name": case("/images/0/file_name", ..., "bad-file-name", "nothing", "a file", "path", ids=(None, 3)),
    "limb to an unknown keypoint": case(
        f"{C}/skeleton/1", [1, 4], "bad-limb", "[1, 4]: there is no keypoint 4", "1 to 3",
        "the first keypoint is 1", ids=NONE,
    ),
    "limbs from 0 on": case(
        f"{C}/skeleton", [[0, 1], [1, 2]], "bad-limb", "there is no keypoint 0", "1 to 3", "add 1 to every number",
        ids=NONE, at=f"{C}/skeleton/0",
    ),
    "limb of one": case(f"{C}/skeleton/0", [1], "bad-limb", "[1]", "a pair of keypoint numbers", "pairs", ids=NONE),
    "limb in a loop": case(f"{C}/skeleton/0", [1, 1], "bad-limb", "[1, 1]", "two different", "pairs", ids=NONE),
    "flip pair of an unknown keypoint": case(
        f"{C}/flip_pairs/0", ["left_eye", "rigth_eye"], "bad-flip-pair", "did you mean 'right_eye'", "nose, left_eye",
        "names that stand in keypoints", ids=NONE,
    ),
    "flip pair of numbers": case(
        f"{C}/flip_pairs/0", [2, 3], "bad-flip-pair", "[2, 3]", "a pair of keypoint names", "names", ids=NONE
    ),
    "flip pair not mutual": case(
        f"{C}/flip_pairs", [["left_eye", "right_eye"], ["nose", "left_eye"]], "bad-flip-pair",
        "'left_eye' paired with 'right_eye' before", "each keypoint in one pair", "pairs", ids=NONE,
        at=f"{C}/flip_pairs/1",
    ),
    "sigma 0": case(f"{C}/sigmas/1", 0, "bad-sigmas", "0 (left_eye)", "above 0", "one number above 0", ids=NONE),
    "sigmas of another length": case(f"{C}/sigmas", [0.1, 0.2], "bad-sigmas", "2 numbers", "3 num", "one", ids=NONE),
    "head size 0": Case(
        changed("/annotations", [DOCUMENT["annotations"][0] | {"head_size": -1}]), "bad-head-size",
        "/annotations/0/head_size", (7, 4), "-1", "a length", "pixels",
    ),
}  # fmt: skip
