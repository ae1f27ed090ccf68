"""The command ``vconnect`` itself: the options before a command, and the list of commands."""

from __future__ import annotations

import click

from .context import State, pass_state
from .interrupts import as_usual
from .lazy import LazyGroup, Place


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    # During shell completion nothing may be printed.
    if not wanted or context.resilient_parsing:
        return
    from vconnect import __version__

    click.echo(f"vconnect {__version__}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
@click.option(
    "--admin",
    metavar="PATH",
    envvar="VCONNECT_ADMIN",
    show_envvar=True,
    help="The administration socket, for the following command.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Color the output.  [default: on a terminal without NO_COLOR]",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
@pass_state
@click.pass_context
def root(
    context: click.Context,
    state: State,
    debug: bool,
    admin: str | None,
    color: str,
    quiet: bool,
) -> None:
    """Run and control out-of-process plugins.

    Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 not running, 4 no such
    plugin, 5 no host answers, 6 not permitted, 7 conflict, 8 not verified, 124 timeout,
    130 interrupted.
    """
    as_usual()  # the command's module is there
    state.debug = debug
    state.admin = admin
    state.quiet = quiet
    if color != "auto":
        context.color = color == "always"


_PLACES = """
serve      serve      serve          Run the host in the foreground until SIGTERM or Ctrl-C.
dev        dev        dev            Run a plugin while it is being written.
list       showing    list_plugins   List the plugins: whether they serve and why not.
status     showing    status         Show the details of a plugin, or of the host itself.
why        showing    why            Say in one line why a plugin does not serve.
logs       logs       logs           Show the output and log of plugins, and follow it.
tail       tail       tail           Show events as they pass.
top        top        top            Watch the plugins: rates, latencies, queues, memory.
doctor     doctor     doctor         Check the machine and the host.
dashboard  dashboard  dashboard      Print an address of the dashboard that logs in once.
ui         ui         ui             Watch and steer the plugins in the terminal.
emit       control    emit           Send an event and show the answers.
start      control    start          Start plugins and wait until they are ready.
stop       control    stop           Stop plugins and wait until they have ended.
restart    control    restart        Start new processes of plugins, which take over.
enable     control    enable         Allow plugins to be started again, and start them.
disable    control    disable        Stop plugins, and let nobody start them.
release    control    release        Lift the quarantine of plugins.
install    packages   install        Install packages, and start their plugins.
upgrade    packages   upgrade        Install what the sources of plugins have now.
rollback   packages   rollback       Return to an earlier version of a plugin.
uninstall  packages   uninstall      Stop plugins and remove them.
rescan     packages   rescan         Take in what was changed in the plugin directory by hand.
verify     packages   verify         Compare the files of plugins with their packages.
outdated   packages   outdated       Show what the sources of plugins have now.
search     index      search         Show the plugins of the host's indexes.
info       index      info           Show what an index has of a plugin, or what a package is.
index      index      index          Make an index of packages.
reload     settings   reload         Read the configuration again.
config     settings   config         Show or change the configuration of a plugin.
pack       projects   pack           Create a package from a plugin's directory.
new        projects   new            Create a plugin project that runs as it is.
check      checking   check          Say all that is wrong with a file, and start nothing.
schema     checking   schema         Print the JSON Schema of a file or of output.
keygen     signing    keygen         Make a pair of keys.
sign       signing    sign           Sign files.
trust      trust      trust          Let the signatures of a key count.
untrust    trust      untrust        Forget a key, or let nothing of it count any more.
trusted    trust      trusted        List the keys.
bench      bench      bench          Measure the performance of this machine.
man        man        man            Print the manual page.
"""


def _places(text: str) -> dict[str, Place]:
    rows = (line.split(maxsplit=3) for line in text.strip().splitlines())
    return {name: Place(module, attribute, words) for name, module, attribute, words in rows}


root.places = _places(_PLACES)
