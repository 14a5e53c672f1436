"""The settings that exist: their names in files and in the environment, their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from sources.kantata.settings import API_URL


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting that exists.

    Args:
        name: Its section and key in a file.
        default: Its value if it is not set; empty for none.
        is_secret: Whether its value is masked.
        variable: Its name in the environment, if that is not made of the section and the key.
    """

    name: str
    default: str = ""
    is_secret: bool = False
    variable: str = ""

    @property
    def section(self) -> str:
        """The section of the setting in a file, such as ``sources.kantata``."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        """The key of the setting in its section."""
        return self.name.rpartition(".")[2]

    @property
    def sectioned_variable(self) -> str:
        """The section and key of the setting as a name in the environment."""
        return self.name.upper().replace(".", "__")

    @property
    def environment(self) -> str:
        """The name of the setting in the environment, as the documents give it."""
        return self.variable or self.sectioned_variable


SETTINGS = (
    Setting(
        name="sources.kantata.kantata_access_token", is_secret=True, variable="KANTATA_ACCESS_TOKEN"
    ),
    Setting(name="sources.kantata.kantata_api_url", default=API_URL, variable="KANTATA_API_URL"),
    Setting(name="sources.kantata.scan_every", default="24h"),
    Setting(name="sources.kantata.requests_in_flight", default="4"),
    Setting(name="sources.kantata.requests_per_second", default="0.0"),
    Setting(name="sources.kantata.backoff_seconds", default="2.0"),
    Setting(name="warehouse.destination", default="duckdb"),
    Setting(name="destination.duckdb.credentials", default=".milestones/loader.duckdb"),
    Setting(name="destination.postgres.credentials"),
    Setting(name="warehouse.publish_to", default="milestones.duckdb"),
    # By default DuckDB takes most of the memory and keeps it. The marts of three million milestones
    # were built with this limit; with 256 MB, those of a million failed.
    Setting(name="warehouse.memory_limit", default="512MB"),
    Setting(name="warehouse.reporting_timezone", default="UTC"),
    Setting(name="warehouse.reporting_currency"),
    Setting(name="warehouse.exchange_rates"),
    Setting(name="warehouse.reader_credentials"),
    Setting(name="warehouse.models"),
    Setting(name="push.enabled", default="false"),
    Setting(name="push.max_changes", default="1000"),
    Setting(name="push.batch_creates", default="1"),
    Setting(name="push.reconcile_after", default="240"),
    Setting(name="push.require_verified_approval", default="false"),
    Setting(name="push.kantata_write_token", is_secret=True, variable="KANTATA_WRITE_TOKEN"),
    Setting(name="ledger.url"),
    Setting(name="lake.url"),
    Setting(name="lake.every"),
    Setting(name="lake.keep", default="2d"),
    Setting(name="lake.time_limit", default="10m"),
    Setting(name="report.path"),
    Setting(name="console.users", default=".milestones/console.sqlite"),
    Setting(name="console.trusted_proxies"),
    Setting(name="console.identity_header"),
    Setting(name="alerts.webhook_url", is_secret=True),
    Setting(name="alerts.alert_after", default="6h"),
    Setting(name="alerts.digest"),
)
NAMED = {setting.name: setting for setting in SETTINGS}
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
# The sections in which every key is one of ours. Those of dlt's destinations are not.
SECTIONS = ("sources.kantata", "warehouse", "push", "ledger", "lake", "report", "console", "alerts")
# The section whose keys are those of another library, and how they begin in the environment.
STORAGE_SECTION = "lake.storage_options"
STORAGE_VARIABLES = "LAKE__STORAGE_OPTIONS__"
