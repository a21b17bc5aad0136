"""Numbers and sentences of the app, as small pieces of HTML in plain language."""

from collections.abc import Mapping

from demo.engine import Comparison, Covered, Photo
from demo.heads import Heads


def opened(photo: Photo) -> str:
    """Status under the photo."""
    many = "1 face found" if photo.faces_found == 1 else f"{photo.faces_found} faces found, largest used"
    return f"{many} in {photo.seconds['detection'] * 1000:.0f} ms."


def covered(result: Covered) -> str:
    """Caption under the covered photo."""
    return "The photo as it is." if result.untouched else f"Hides {result.coverage:.0%} of the face."


def numbers(heads: Heads, comparison: Comparison) -> str:
    """The table of differences and times."""
    shape = [heads.mean_mm("neutral", index) for index in (1, 2)]
    moved = [heads.mean_mm("photo", index) for index in (1, 2)]
    seconds = comparison.seconds
    if comparison.covered.untouched:
        return _against_the_teacher(shape[1], moved[1], seconds)
    rows = (
        _row("Face shape", "reference", shape, "{:.2f} mm"),
        _row("Shape and expression", "reference", moved, "{:.2f} mm"),
        _row(
            "Time",
            f"{seconds['reference'] * 1000:.0f} ms",
            [seconds["teacher"] * 1000, seconds["student"] * 1000],
            "{:.0f} ms",
            rank=False,
        ),
    )
    return (
        "<table><thead><tr><th></th><th>Teacher,<br>clean photo</th>"
        f"<th>Teacher,<br>covered</th><th>Student,<br>covered</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        '<p class="fine">Mean distance between matching points of the face, in mm. '
        "The reference is itself an estimate from the clean photo, not a scan.</p>"
    )


def _against_the_teacher(shape: float, moved: float, seconds: Mapping[str, float]) -> str:
    """The table where nothing was put before the face: there is no reference, only a difference."""
    rows = (
        ("Face shape", f"{shape:.2f} mm"),
        ("Shape and expression", f"{moved:.2f} mm"),
        ("Time of the student", f"{seconds['student'] * 1000:.0f} ms"),
    )
    body = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return (
        "<table><thead><tr><th></th><th>Student to teacher</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
        '<p class="fine">Mean distance between matching points of the two faces, in mm.</p>'
    )


def summary(heads: Heads, comparison: Comparison) -> str:
    """Who stayed nearer to the reference, and what further photos of the person were used for."""
    teacher, student = (heads.mean_mm("neutral", index) for index in (1, 2))
    covered, others = comparison.covered, comparison.others
    if covered.untouched:
        text = (
            "Nothing was added to the photo, so no clean one tells which head is right: what covers the "
            "face may mislead the teacher. The student's face shape is "
            f"<b>{student:.1f} mm</b> from the teacher's."
        )
    else:
        text = _summary(covered.coverage, teacher, student)
    if others:
        text += (
            f" It saw <b>{others} more photo{'s' * (others > 1)}</b> of the person: its shape is the mean "
            "of all, and hidden skin comes from where it is seen. The reference knows only the one photo."
        )
    return f"<p>{text}</p>"


def _summary(coverage: float, teacher: float, student: float) -> str:
    start = f"With <b>{coverage:.0%}</b> of the face covered, "
    if student < teacher:
        return (
            f"{start}the student's face shape is <b>{student:.1f} mm</b> from the reference, "
            f"the teacher's {teacher:.1f} mm: {1 - student / teacher:.0%} less."
        )
    return (
        f"{start}the student's face shape is <b>{student:.1f} mm</b> from the reference, "
        f"the teacher's {teacher:.1f} mm. This time the teacher stayed nearer."
    )


def _row(name: str, first: str, values: list[float], form: str, *, rank: bool = True) -> str:
    best = min(values)
    cells = "".join(
        f'<td class="{"best" if rank and value == best else "other"}">{form.format(value)}</td>'
        for value in values
    )
    return f"<tr><th>{name}</th><td>{first}</td>{cells}</tr>"
