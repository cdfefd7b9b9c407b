"""The rows of a network call that a student draws, by a condition of their own."""

from typing import Final

import torch
from torch import Tensor

from diffusion.sampling.conditions import Conditions

STUDENT: Final = "student"  # 1 in the rows of a student, 0 in those of its teacher


def mark_student(rows: Conditions) -> Conditions:
    """Return ``rows`` as those of a student."""
    return rows.with_tensors({STUDENT: torch.ones(len(rows), 1)})


def split_student(rows: Conditions) -> tuple[tuple[Tensor, Conditions], tuple[Tensor, Conditions]] | None:
    """Return the indices and conditions of the teacher's rows and of the student's.

    They lack the condition by which they are told apart. Returns None for rows of a teacher alone.
    """
    marks = rows.tensors.get(STUDENT)
    if marks is None:
        return None
    own = {name: tensor for name, tensor in rows.tensors.items() if name != STUDENT}
    is_students = marks[:, 0] > 0
    parts = [index.nonzero()[:, 0] for index in (~is_students, is_students)]
    teachers, students = (
        (index, Conditions({name: tensor[index.to(tensor.device)] for name, tensor in own.items()}, rows.repeatable))
        for index in parts
    )
    return teachers, students
