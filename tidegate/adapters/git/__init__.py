"""Git: bare mirrors, polled by `ls-remote`, read without a work tree, written by plumbing, pushed with a
check.
"""

from tidegate.adapters.git.commits import CommitResult
from tidegate.adapters.git.history import Commit
from tidegate.adapters.git.mirror import Mirror
from tidegate.adapters.git.writing import Edit, Tree

__all__ = ["Commit", "CommitResult", "Edit", "Mirror", "Tree"]
