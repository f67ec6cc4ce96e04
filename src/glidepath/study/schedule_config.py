"""The schedules of a study's YAML, one class per kind: its keys, and the path of learning rates it stands for.

Peak, warm-up and horizon are not part of a schedule; they come with the `Room` that a cell gives it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from glidepath.study.schedule_constants import Constant, Plateau
from glidepath.study.schedule_cooldowns import WSD, WSDS
from glidepath.study.schedule_cycles import Cyclic, OneCycle
from glidepath.study.schedule_descents import Decay, HorizonFree, Step
from glidepath.study.schedule_points import Points

ScheduleConfig = Annotated[
    Constant | Decay | WSD | WSDS | Step | HorizonFree | Cyclic | OneCycle | Plateau | Points,
    Field(discriminator="kind"),
]
