"""The one reader of the environment: POLLER_* variables, then an optional TOML file. Frozen once read."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from poller.errors import SettingsError, UsageError
from poller.secret_files import check_secret, read_secret

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST = 1000 * 365 * 86400  # seconds; further back than year 1 there is no time to speak of
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_TOKEN = re.compile(r"[!-~]+")
_SECRETS = ("okta_api_token", "okta_private_key")
_ORG_SECRETS = ("api_token", "private_key")
_URL_WITH_PASSWORD = re.compile(r"://[^/?#]*:[^/?#]*@|[?&]password=")


def parse_duration(value: object) -> timedelta:
    """`30s`, `10m`, `24h`, `7d`: a number and a unit (ms, s, m, h, d, w). Raises ValueError on anything else."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{value!r} is not a duration such as 30s, 10m, 24h or 7d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST:
        raise ValueError(f"{value!r} is longer than a thousand years")
    return timedelta(seconds=seconds)


def parse_time(value: str, now: datetime) -> datetime:
    """A point in time from the command line: ISO 8601 (UTC unless it says otherwise) or an age such as `24h`.

    Raises UsageError on anything else.
    """
    if _DURATION.fullmatch(value):
        try:
            return now - parse_duration(value)
        except (ValueError, OverflowError):
            raise UsageError(f"{value!r} is further back than time goes.") from None
    try:
        moment = datetime.fromisoformat(value.strip().upper())
    except ValueError:
        raise UsageError(
            f"{value!r} is not a time. Give ISO 8601 (2026-11-01 or 2026-11-01T09:00:00Z) or an age (24h, 7d)."
        ) from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{value!r} is outside the years 1 to 9999.") from None


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("it must be longer than zero")
    return value


def _origin(value: str) -> str:
    """`https://acme.okta.com`: scheme and host, nothing else. `http` is for a loopback address only."""
    url = value.strip().rstrip("/")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("give the whole address of the org, such as https://acme.okta.com")
    if parts.path or parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ValueError("give scheme and host alone, such as https://acme.okta.com")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("plain http would send the token in clear: use https (http is for a loopback address only)")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if re.search(r"-admin\.okta", host):
        raise ValueError("this is the address of the admin console: leave out -admin")
    is_default = port in (None, 443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{host}{'' if is_default else f':{port}'}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _database_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if scheme == "sqlite":
        return value
    raise ValueError("give sqlite:///poller.db or postgresql://user@host/database")


def _address(value: object) -> object:
    """`127.0.0.1:9787` or `[::1]:9787` as (host, port); `off` as None."""
    if isinstance(value, tuple):
        return value
    text = str(value).strip()
    if text == "off":
        return None
    try:
        parts = urlsplit(f"//{text}")
        is_plain = parts.netloc == text and "@" not in text and _TOKEN.fullmatch(text)
        if is_plain and parts.hostname and parts.port is not None:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise ValueError("give an address and a port such as 127.0.0.1:9787 or [::1]:9787, or off")


def _web_address(value: SecretStr) -> SecretStr:
    url = value.get_secret_value().strip()
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        is_whole = False
    if not is_whole or not _TOKEN.fullmatch(url):
        raise ValueError("give an http or https address, whole and without user or password")
    return SecretStr(url)


Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_positive)]
Origin = Annotated[str, AfterValidator(_origin)]


class OrgSettings(BaseModel):
    """One Okta org: where it is, the `org` value of its rows, and one way to authenticate."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
    org_url: Origin
    api_token: SecretStr | None = None
    api_token_file: Path | None = None
    client_id: str | None = None
    private_key: SecretStr | None = None
    private_key_file: Path | None = None
    key_id: str | None = None

    def token(self) -> str | None:
        """The SSWS token, read from its file at each call so that a rotated one is taken up."""
        token = _secret(self.api_token, self.api_token_file, "API token", self.name)
        if token is not None and token.upper().startswith("SSWS "):
            raise SettingsError(f"org {self.name}: leave out SSWS in front of the API token.")
        if token is not None and not _TOKEN.fullmatch(token):
            raise SettingsError(f"org {self.name}: the API token has spaces, line breaks or other signs that none has.")
        return token

    def key(self) -> str | None:
        """The private key (PEM or JWK) of the OAuth service app."""
        return _secret(self.private_key, self.private_key_file, "private key", self.name)

    @property
    def uses_oauth(self) -> bool:
        return self.client_id is not None

    def secret(self) -> str | None:
        """What this org authenticates with. Raises SettingsError: it can't be read or used."""
        return self.key() if self.uses_oauth else self.token()

    def check_credentials(self) -> None:
        """Raises SettingsError unless there is exactly one usable way to authenticate."""
        has_token = self.api_token is not None or self.api_token_file is not None
        has_key = self.private_key is not None or self.private_key_file is not None
        if self.uses_oauth and not has_key:
            raise SettingsError(
                f"org {self.name}: a client id without a private key. Set POLLER_OKTA_PRIVATE_KEY_FILE."
            )
        if has_key and not self.uses_oauth:
            raise SettingsError(f"org {self.name}: a private key without a client id. Set POLLER_OKTA_CLIENT_ID.")
        if has_token == self.uses_oauth:
            given = "both an API token and" if has_token else "neither an API token nor"
            raise SettingsError(
                f"org {self.name}: {given} an OAuth client. "
                "Set POLLER_OKTA_API_TOKEN (or _FILE), or POLLER_OKTA_CLIENT_ID with POLLER_OKTA_PRIVATE_KEY_FILE."
            )


def _secret(value: SecretStr | None, path: Path | None, what: str, org: str) -> str | None:
    if path is None:
        text = value.get_secret_value().strip() if value is not None else None
    else:
        text = read_secret(path, f"the {what} of org {org}").strip()
    if text == "":
        raise SettingsError(f"org {org}: the {what} is empty{f' in {path}' if path else ''}.")
    return text


class RuleSettings(BaseModel):
    """`[rules.NAME]`: the rule's own parameters, and these two of any rule."""

    model_config = ConfigDict(frozen=True, extra="allow")

    enabled: bool | None = None  # as the rule says
    severity: Literal["informational", "low", "medium", "high", "critical"] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Settings(BaseSettings):
    """Everything that can be set. Source: docs/settings.md lists each with its default."""

    model_config = SettingsConfigDict(env_prefix="POLLER_", frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_database_url)] = "sqlite:///poller.db"
    auto_migrate: bool = False
    okta_org_url: Origin | None = None
    okta_org_name: str | None = None
    okta_api_token: SecretStr | None = None
    okta_api_token_file: Path | None = None
    okta_client_id: str | None = None
    okta_private_key: SecretStr | None = None
    okta_private_key_file: Path | None = None
    okta_key_id: str | None = None
    poll_interval: Duration = timedelta(seconds=30)
    initial_lookback: Duration = timedelta(hours=24)
    rate_limit_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    retention: Duration = timedelta(days=90)
    verify_after: Duration = timedelta(hours=48)
    health_address: Annotated[tuple[str, int] | None, NoDecode, BeforeValidator(_address)] = ("127.0.0.1", 9787)
    heartbeat_url: Annotated[SecretStr, AfterValidator(_web_address)] | None = None
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    orgs: tuple[OrgSettings, ...] = ()
    rules_path: Path | None = None
    rules: dict[str, RuleSettings] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _config_file())

    def all_orgs(self) -> tuple[OrgSettings, ...]:
        """Every org to poll: the one of the environment and those of the TOML file.

        Raises SettingsError: none at all, a name twice, or credentials that can't be used.
        """
        orgs = self.orgs
        if self.okta_org_url:
            host = urlsplit(self.okta_org_url).hostname or ""
            first = OrgSettings(
                name=self.okta_org_name or host,
                org_url=self.okta_org_url,
                api_token=self.okta_api_token,
                api_token_file=self.okta_api_token_file,
                client_id=self.okta_client_id,
                private_key=self.okta_private_key,
                private_key_file=self.okta_private_key_file,
                key_id=self.okta_key_id,
            )
            orgs = (first, *orgs)
        if not orgs:
            raise SettingsError(
                "no Okta org is set. Set POLLER_OKTA_ORG_URL to its address, such as https://acme.okta.com."
            )
        names = [org.name for org in orgs]
        for name in names:
            if names.count(name) > 1:
                raise SettingsError(f"two orgs are named {name}. Give each [[orgs]] table a name of its own.")
        for org in orgs:
            org.check_credentials()
        return orgs


def _config_file() -> Path | None:
    named = os.environ.get("POLLER_CONFIG")
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"POLLER_CONFIG names {named}, which is not a file.")
        return Path(named)
    default = Path("poller.toml")
    return default if default.is_file() else None


def exposed_file() -> str | None:
    """What is wrong with the TOML file, where a secret stands in it that others can read. It is not refused, as the
    file of one secret is: those who only read findings need its other settings too."""
    path = _config_file()
    if path is not None and _holds_secret(tomllib.loads(path.read_text("utf-8"))):
        try:
            check_secret(path, "the secrets")
        except SettingsError as error:
            return str(error)
    return None


def _holds_secret(settings: dict[str, Any]) -> bool:
    """Whether a token, a private key or a database password stands in the TOML file itself."""
    tables = settings.get("orgs")
    orgs = [org for org in tables if isinstance(org, dict)] if isinstance(tables, list) else []
    if any(settings.get(name) for name in _SECRETS) or any(org.get(name) for org in orgs for name in _ORG_SECRETS):
        return True
    url = str(settings.get("database_url", ""))
    return bool(_URL_WITH_PASSWORD.search(url))


def load(**overrides: Any) -> Settings:
    """The settings in force. Raises SettingsError: one line that names the setting and what is wrong with it."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        name = place if "." in place else f"POLLER_{place.upper()}"
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        where = os.environ.get("POLLER_CONFIG") or "poller.toml"
        raise SettingsError(f"{where}: {error}.") from None
