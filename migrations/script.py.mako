"""${message}

The views of poller/activities.sql are dropped before and made again after every upgrade by poller/migrate.py.
"""

import sqlalchemy as sa
from alembic import op

from poller.schema import Instant

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
