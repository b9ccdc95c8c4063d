"""Many patterns searched in one pass over a text, by Hyperscan where it is installed and by RE2 elsewhere."""

from security.matching.errors import MatcherError
from security.matching.matcher import Matcher, engines, matcher, refusal
from security.matching.sets import searching
from security.matching.spelling import SpellingError, portable

__all__ = ["Matcher", "MatcherError", "SpellingError", "engines", "matcher", "portable", "refusal", "searching"]
