"""The frame of all pages: templates, the visitor, and what is said to them once."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates

HERE: Final = Path(__file__).parent


def _show_visitor(request: Request) -> dict[str, Any]:
    return {"user": request.session.get("user"), "flash": request.session.pop("flash", None)}


def _show_time(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y} at {moment:%H:%M} UTC"


def _show_duration(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{rest} min" if rest else "") if part)


def recipe_url(id: str) -> str:
    """Return the address of a recipe's page. Other programs may have given it any id."""
    return f"/recipes/{quote(id, safe='')}"


_templates: Final = Jinja2Templates(HERE / "templates", context_processors=[_show_visitor])
_templates.env.filters |= {"when": _show_time, "duration": _show_duration, "recipe_url": recipe_url}
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


def page(request: Request, template: str, /, *, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    return _templates.TemplateResponse(request, template, values, status_code=status)


def go_to(address: str) -> Response:
    """Return the answer to a form that has worked: the browser reads another page."""
    return RedirectResponse(address, status_code=303)


def say(request: Request, text: str) -> None:
    """Show a text on the next page."""
    request.session["flash"] = text


def _require_user(request: Request) -> str:
    user: str | None = request.session.get("user")
    if user is None:
        back = request.url.path if request.method == "GET" else "/"
        raise HTTPException(303, headers={"location": f"/sign-in?next={quote(back)}"})
    return user


User = Annotated[str, Depends(_require_user)]
"""The name of the visitor, who is sent to the page for signing in if they have not."""
