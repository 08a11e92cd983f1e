"""Options of ``cxr data import``, made from what the importers declare."""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cxr.cli.output import assignments

if TYPE_CHECKING:
    from cxr.data.importers.options import Declaration

_GIVEN = "cxr.import.options"  # key of the context's storage


class ImportCommand(TyperCommand):
    """The command with one option for each that an importer declares.

    They are made when the command is parsed, so that no other command waits for the importers.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters of the function, then the importers' options."""
        return [*super().get_params(ctx), *_parameters()]


def given_options(ctx: typer.Context) -> dict[str, Any]:
    """Return the importers' options that stand on the command line, by name."""
    given: dict[str, Any] = ctx.meta.get(_GIVEN, {})
    return given


@cache
def _parameters() -> tuple[Any, ...]:
    from cxr.data.importers.options import all_declarations
    from cxr.data.importers.registry import SOURCES

    declared = all_declarations({kind: source.options for kind, source in SOURCES.items()})

    def holder(**_: Any) -> None:
        """Hold the options whose parameters Typer makes."""

    arguments = []
    for name, (declaration, kinds) in declared.items():
        described = declaration.help if len(kinds) == len(SOURCES) else f"{declaration.help} For {', '.join(kinds)}."
        annotation, default = _typed(declaration, described)
        arguments.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
        holder.__annotations__[name] = annotation
    holder.__annotations__.pop("_", None)
    holder.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(holder)
    made = [param for param in typer.main.get_command(app).params if param.name in declared]
    for param in made:
        param.expose_value = False
        param.callback = _keeper(declared[str(param.name)][0])
    return tuple(made)


def _typed(declaration: Declaration, described: str) -> tuple[Any, Any]:
    """Return the annotation and the default of an option."""
    if declaration.form in ("pairs", "words"):
        repeated = f"{described.rstrip('.')}; may be repeated." if described == declaration.help else described
        return Annotated[list[str] | None, typer.Option(declaration.flag, help=repeated)], None
    if declaration.form == "flag":
        return Annotated[bool, typer.Option(declaration.flag, help=described)], False
    return Annotated[str, typer.Option(declaration.flag, help=described)], declaration.default


def _keeper(declaration: Declaration) -> Any:
    """Return what keeps the value of an option that was given."""

    def keep(ctx: typer.Context, _: Any, value: Any) -> Any:
        if declaration.form == "pairs":
            value = assignments(value, declaration.flag)
        if declaration.form == "words":
            value = tuple(value or ())
        if value not in (None, declaration.default):
            ctx.meta.setdefault(_GIVEN, {})[declaration.name] = value
        return value

    return keep
