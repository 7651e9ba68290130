"""Records in, findings out. One rule is one file; `engine` finds them."""

from isograd.rules.engine import chinese as chinese
from isograd.rules.engine import diagnose as diagnose
from isograd.rules.engine import documentation as documentation
from isograd.rules.engine import merged as merged
from isograd.rules.engine import rules as rules
from isograd.rules.neutral import collapsed as collapsed
from isograd.rules.neutral import stretch as stretch
