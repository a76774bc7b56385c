"""The options of every command that calls a service; they may also stand before its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.terminal.client import TOKEN_VARIABLE, Client

TOKEN_FILE = Path(".state/dev/token")
AUDIT_TOKEN_FILE = Path(".state/dev/activity-audit-token")
Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Service:
    """A service that commands call: its name, and where `prospect dev` serves it."""

    name: str
    address: str

    @property
    def variable(self) -> str:
        """Return the environment variable that says where it is."""
        return f"PROSPECT_{self.name.upper()}_ADDRESS"


ACTIVITY = Service("activity", "127.0.0.1:8401")
ENRICHMENT = Service("enrichment", "127.0.0.1:8402")
METRICS = Service("metrics", "127.0.0.1:8403")
VARIABLES = {
    TOKEN_VARIABLE: "file with the bearer token that the commands call with",
    ENRICHMENT.variable: "host:port at which `prospect enrich` finds the enrichment service",
    METRICS.variable: "host:port at which `prospect usage` finds the metrics service",
}


PANEL = "Options of every command that calls the service"


def calls(service: Service, token_file: Path = TOKEN_FILE) -> Callable[[Command], Command]:
    """Give a command the shared options and, as its first argument, the client they describe."""

    def decorate(command: Command) -> Command:
        shared = _options(service, token_file)

        @wraps(command)
        def run(context: typer.Context, **options: Any) -> None:
            given = {each.name: _given(context, each.name) for each in shared}
            own = {name: value for name, value in options.items() if name not in given}
            command(_client(**given), **own)

        parameters = inspect.signature(command, eval_str=True).parameters
        _declare(run, [*list(parameters.values())[1:], *shared])
        return run

    return decorate


def before_command(service: Service) -> Command:
    """Return a group's callback, which takes the shared options before the name of a command."""

    def group(context: typer.Context, **options: Any) -> None:
        """Leave the options in the context, where the command finds them."""

    _declare(group, _options(service, TOKEN_FILE))
    return group


def _client(address: str, token_file: str, as_json: bool, **tls: str | None) -> Client:
    files = {name: Path(path) if path else None for name, path in tls.items()}
    return Client(address, Path(token_file), as_json=as_json, **files)


def _options(service: Service, token_file: Path) -> list[Parameter]:
    where = f"host:port of the {service.name} service."
    token = "File with the bearer token to call with."  # noqa: S105 -- a help text
    authority = "PEM file of the authority that signed the service's TLS key."
    return [
        _option("as_json", bool, False, "--json", help="Print JSON, an object a line."),
        _option("address", str, service.address, envvar=service.variable, help=where),
        _option("token_file", Path, token_file, envvar=TOKEN_VARIABLE, help=token),
        _option("ca_file", Path | None, None, help=authority),
        _option("certificate_file", Path | None, None, help="PEM chain to show to the service."),
        _option("key_file", Path | None, None, help="PEM key of that certificate."),
    ]


def _option(name: str, kind: Any, default: object, *flags: str, **settings: Any) -> Parameter:
    option = typer.Option(*flags, rich_help_panel=PANEL, **settings)
    annotation = Annotated[kind, option]
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _declare(function: Command, options: list[Parameter]) -> None:
    """Have Typer see a context and these options in place of what the function's code declares."""
    context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    declared = [context, *(each.replace(kind=Parameter.KEYWORD_ONLY) for each in options)]
    function.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in declared}


def _given(context: typer.Context, name: str) -> Any:
    """Return an option as written after the command, else before it, else as it is by default."""
    level: Any = context
    while level:
        source = level.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            return level.params[name]
        level = level.parent
    return context.params[name]
