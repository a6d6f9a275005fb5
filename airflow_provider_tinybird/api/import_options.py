"""What else can be said about an import: the dialect of CSV, and how a replace treats special cases."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from airflow_provider_tinybird.api.errors import InvalidInputError
from airflow_provider_tinybird.api.models import FileFormat, ImportMode

_LONGEST_NEW_LINE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """Options of an import. What is left out, Tinybird guesses.

    The dialect is documented for the ``v0`` routes. Whether the ``v1`` ones heed it is not.

    :param dialect_delimiter: the one character between the values of a CSV row.
    :param dialect_new_line: the one or two characters at the end of a CSV row.
    :param dialect_escapechar: the one character that takes its meaning from the next one in CSV.
    :param replace_truncate_when_empty: with ``replace``: a file without rows removes all rows, which else stay.
    :param skip_incompatible_partition_key: with ``replace``: pass over dependent materialized views whose partition key does
        not go with the condition, where else the replace is refused.
    """

    dialect_delimiter: str | None = None
    dialect_new_line: str | None = None
    dialect_escapechar: str | None = None
    replace_truncate_when_empty: bool = False
    skip_incompatible_partition_key: bool = False

    def parameters(self, mode: ImportMode, format: FileFormat, condition: str | None) -> dict[str, str | None]:
        """Parameters of the request; ``None`` for what is not sent.

        :raises InvalidInputError: an option does not go with the rest of the request, or has a wrong length.
        """
        self._check_dialect(format)
        replaces = {
            name: getattr(self, name) for name in ("replace_truncate_when_empty", "skip_incompatible_partition_key")
        }
        for name, wanted in replaces.items():
            if wanted and mode is not ImportMode.REPLACE:
                raise InvalidInputError(f"{name} goes with mode='replace'; mode='{mode.value}' would ignore it.")
        if self.replace_truncate_when_empty and condition is not None:
            raise InvalidInputError(
                "replace_truncate_when_empty does not go with replace_condition: leave one of them out."
            )
        return {**self.dialect(), **{name: "true" if wanted else None for name, wanted in replaces.items()}}

    def dialect(self) -> dict[str, str | None]:
        """The part that describes CSV."""
        return {name: value for name, value in asdict(self).items() if name.startswith("dialect_")}

    def described(self) -> dict[str, str | bool]:
        """What was given, as JSON."""
        return {name: value for name, value in asdict(self).items() if value}

    def _check_dialect(self, format: FileFormat) -> None:
        for name, value in self.dialect().items():
            if value is None:
                continue
            if format is not FileFormat.CSV:
                raise InvalidInputError(f"{name} describes CSV; a file of format '{format.value}' has no dialect.")
            longest = _LONGEST_NEW_LINE if name == "dialect_new_line" else 1
            if not 1 <= len(value) <= longest:
                raise InvalidInputError(
                    f"{name}={value!r} must have {'1 or 2 characters' if longest > 1 else '1 character'}."
                )


NO_OPTIONS = ImportOptions()
