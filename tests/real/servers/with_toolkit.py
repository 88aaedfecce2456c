"""django-oauth-toolkit's server. It decodes what comes by Basic as a form, and says no to a bad token in three ways."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path
from typing_extensions import override

from tests.real.servers import SCOPES, App, Server, Theirs

__all__ = ("ToolkitServer",)

_APPS = ("django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider")


class ToolkitServer(Server):
    """Django is set up once in a process, so there is one of these. Its database is in ``folder``.

    Of a bad token ``/api/thing`` says what RFC 6750 asks for, ``/api/forbidden`` the same with a 403, and ``/api/bare``
    says 403 and nothing else, which is the toolkit's default.
    """

    name = "toolkit"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        settings.configure(
            SECRET_KEY="made up, and as long as Django wants it to be",
            ALLOWED_HOSTS=["127.0.0.1"],
            INSTALLED_APPS=_APPS,
            # No migrations: the tables are made as the models are today.
            MIGRATION_MODULES={name.rpartition(".")[2]: None for name in _APPS},
            DATABASES={
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": folder / "toolkit.sqlite3",
                    "OPTIONS": {"init_command": "PRAGMA synchronous=OFF"},
                }
            },
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            USE_TZ=True,
            OAUTH2_PROVIDER={
                "SCOPES": dict.fromkeys(SCOPES, ""),
                "DEFAULT_SCOPES": [],
                "EXTRA_SERVER_KWARGS": {"token_generator": self.new_token, "token_expires_in": self.lifetime_of},
            },
        )
        django.setup()
        call_command("migrate", run_syncdb=True, verbosity=0)
        settings.ROOT_URLCONF = _paths()

    @override
    def app(self) -> App:
        app: Theirs = get_wsgi_application()
        return cast("App", app)

    @override
    def register(self, client_id: str, secret: str) -> None:
        from oauth2_provider.models import Application

        Application.objects.all().delete()
        Application.objects.create(
            client_id=client_id,
            client_secret=secret,
            hash_client_secret=False,
            client_type=Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
        )
        connections.close_all()

    @override
    def forget(self) -> None:
        from oauth2_provider.models import get_access_token_model

        get_access_token_model().objects.all().delete()
        connections.close_all()


def _paths() -> tuple[Theirs, ...]:
    from oauth2_provider.decorators import protected_resource, protected_resource_metadata
    from oauth2_provider.views import TokenView

    def thing(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.body)

    def forbidden(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = protected_resource_metadata()(thing)(request)
        if response.status_code == 401:
            response.status_code = 403
        return response

    return (
        path("oauth/token", TokenView.as_view()),
        path("api/thing", protected_resource_metadata()(thing)),
        path("api/write", protected_resource_metadata(["write"])(thing)),
        path("api/forbidden", forbidden),
        path("api/bare", protected_resource()(thing)),
    )
