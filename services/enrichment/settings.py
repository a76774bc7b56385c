"""The enrichment service's settings, read from the environment."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, SecretStr

from chassis.settings import EnvironmentSettings, ServiceSettings
from services.enrichment.sources.catalogue import SourceName


class SourceSettings(EnvironmentSettings):
    """Where the sources are, what they know us by, and how they are asked."""

    contactout_url: str = Field("https://api.contactout.com", description="ContactOut (enrichment)")
    contactout_api_key: SecretStr = Field(description="ContactOut's key (enrichment)")
    exa_url: str = Field("https://api.exa.ai", description="Exa (enrichment)")
    exa_api_key: SecretStr = Field(description="Exa's key (enrichment)")
    sec_data_url: str = Field("https://data.sec.gov", description="SEC submissions (enrichment)")
    sec_archives_url: str = Field("https://www.sec.gov", description="SEC filings (enrichment)")
    sec_user_agent: str = Field(
        description="company and e-mail that the SEC may write to, which it demands (enrichment)"
    )
    anthropic_url: str = Field("https://api.anthropic.com", description="Claude (enrichment)")
    anthropic_api_key: SecretStr = Field(description="Claude's key (enrichment)")
    claude_model: str = Field("claude-sonnet-5-5", description="model id (enrichment)")
    call_timeout_seconds: float = Field(
        30, gt=0, description="longest that a source is waited for in one call (enrichment)"
    )
    sec_filings: int = Field(
        40,
        ge=1,
        le=1000,
        description="so many of a company's ownership filings are read at least (enrichment)",
    )
    sec_days: int = Field(
        365,
        ge=1,
        le=3650,
        description="and the ownership filings of so many days, unless the tenant's policy says "
        "otherwise; 500 documents a call at most (enrichment)",
    )


class Settings(SourceSettings, ServiceSettings):
    """The settings of the enrichment service beside the common ones."""

    plain_requests: bool = Field(
        True,
        description="take requests on prospect.enrich.requested for any tenant; false where only "
        "prospect.enrich.requested.<tenant> is to be trusted (enrichment)",
    )
    run_deadline_seconds: float = Field(
        120, gt=0, description="a run ends by then with what it has (enrichment)"
    )
    lease_seconds: float = Field(
        6, gt=0, description="a dead worker's runs are taken over after this (enrichment)"
    )
    runs_in_hand: int = Field(
        256, ge=1, description="runs driven at once by a process (enrichment)"
    )
    tenant_runs_in_hand: int = Field(
        32, ge=1, le=1000, description="a tenant's runs driven at once, by policy (enrichment)"
    )
    tenant_max_runs_in_hand: int = Field(
        128, ge=1, le=1000, description="what a tenant may set its policy's cap to (enrichment)"
    )
    tenant_max_weight: int = Field(
        10, ge=1, le=100, description="what a tenant may set its policy's weight to (enrichment)"
    )
    late_seconds: float = Field(
        900, ge=0, description="how long after its deadline a run takes late answers (enrichment)"
    )
    history_days: int = Field(365, ge=1, description="ended runs are kept for so long (enrichment)")
    suppression_key: SecretStr = Field(
        description="secret of the suppression lists' hashes, 32 characters or more; a new one "
        "makes the lists forget (enrichment)"
    )
    contactout_calls_per_second: float = Field(
        16,
        ge=0,
        description="for the whole deployment; ContactOut allows 1,000 a minute; 0 is no limit "
        "(enrichment)",
    )
    exa_calls_per_second: float = Field(
        10, ge=0, description="for the whole deployment; 0 is no limit (enrichment)"
    )
    sec_calls_per_second: float = Field(
        10, ge=0, le=10, description="for the whole deployment; the SEC allows 10 (enrichment)"
    )
    claude_calls_per_second: float = Field(
        50, ge=0, description="for the whole deployment; 0 is no limit (enrichment)"
    )
    breaker_failures: int = Field(
        5, ge=1, description="failures in a row that open a source's breaker (enrichment)"
    )
    breaker_reset_seconds: float = Field(
        20, gt=0, description="how long an open breaker leaves a source alone (enrichment)"
    )
    max_park_seconds: float = Field(
        900,
        gt=0,
        description="longest that a source's Retry-After has every tenant leave it alone; then it "
        "is asked again (enrichment)",
    )
    ask_paid_again: bool = Field(
        False,
        description="ask a paid source once more when a crash lost its reply, at the risk of "
        "paying twice, unless the tenant's policy says otherwise (enrichment)",
    )

    @property
    def rates(self) -> Mapping[SourceName, float]:
        """The calls a second that each source gets; 0 is no limit."""
        return {source: getattr(self, f"{source.value}_calls_per_second") for source in SourceName}
