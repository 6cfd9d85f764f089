"""The Django site that is being moved: it logs people in and greets them. Its cart has gone to Node already (server.ts)."""

import os
import socketserver
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.html import escape

settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import authenticate, get_user_model, login, logout  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402


def page(request, body):
    return HttpResponse(
        f"<!doctype html><html lang=en><title>Shop</title><link rel=stylesheet href=/style.css>"
        f"<header><a href=/>Home</a> <a href=/cart>Cart</a> <small>this page: Django</small></header>"
        f"<main>{body}</main>"
    )


def form(request, action, fields, button):
    token = f"<input type=hidden name=csrfmiddlewaretoken value={get_token(request)}>"
    return f"<form method=post action={action}>{token}{fields}<button>{button}</button></form>"


def home(request):
    count = len(request.session.get("cart", []))
    if request.user.is_authenticated:
        name = escape(request.user.get_username())
        body = f"<h1>Hello, {name}</h1>" + form(request, "/logout", "", "Log out")
    else:
        fields = (
            "<label>Name <input name=username value=ann autocomplete=username></label>"
            "<label>Password <input name=password type=password value=coat autocomplete=current-password></label>"
        )
        body = "<h1>Hello, stranger</h1>" + form(request, "/login", fields, "Log in")
    return page(request, f"{body}<p>Products in your cart: <output>{count}</output></p>")


def log_in(request):
    user = authenticate(
        request, username=request.POST.get("username"), password=request.POST.get("password")
    )
    if user is None:
        return page(request, "<h1>That is not right</h1><p><a href=/>Try again</a></p>")
    login(request, user)
    return redirect("/")


def log_out(request):
    logout(request)
    return redirect("/")


urlpatterns = [path("", home), path("login", log_in), path("logout", log_out)]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


call_command("migrate", verbosity=0)
users = get_user_model().objects
if not users.filter(username="ann").exists():
    users.create_user("ann", password="coat")
server = make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), Server, Quiet)
print(f"Django: http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
