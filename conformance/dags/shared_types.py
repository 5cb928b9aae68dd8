"""Types of our own that tasks hand on. They live in a module so that their names don't depend on a Dag file's path."""

from __future__ import annotations

import collections
import dataclasses
import enum

import attrs
import pydantic


class Colour(enum.Enum):
    RED = "red"


class Level(int, enum.Enum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@attrs.define
class Box:
    width: int
    inside: list


class Person(pydantic.BaseModel):
    name: str
    age: int | None = None


Pair = collections.namedtuple("Pair", "first second")
