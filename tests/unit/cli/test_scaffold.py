import ast
import json
import os
import tomllib

import pytest

from vconnect.cli import scaffold
from vconnect.cli.scaffold import create_project
from vconnect.errors import ConfigError
from vconnect.packages.manifest import read_manifest


def written(tmp_path, name="example", language="python"):
    files = create_project(name, tmp_path / "project", language)
    return {str(path.relative_to(tmp_path / "project")): path for path in files}


def test_python_project(tmp_path):
    files = written(tmp_path)
    assert sorted(files) == [
        ".gitignore",
        "README.md",
        "plugin.json",
        "plugin.py",
        "test_plugin.py",
    ]
    assert read_manifest(files["plugin.json"]).plugin == "example"
    assert "class Example(Plugin):" in files["plugin.py"].read_text()


@pytest.mark.parametrize("language", ["python", "rust"])
def test_the_readme_runs_it_as_the_guide_does(tmp_path, language):
    text = written(tmp_path, language=language)["README.md"].read_text()
    assert "vconnect serve --dev example:. --debug" in text
    assert "--config" not in text


def test_rust_project(tmp_path):
    files = written(tmp_path, language="rust")
    assert sorted(files) == [
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "plugin.json",
        "src/json.rs",
        "src/main.rs",
    ]
    assert tomllib.loads(files["Cargo.toml"].read_text())["package"]["name"] == "example"
    assert read_manifest(files["plugin.json"]).entry == "example"


def test_only_the_entry_is_executable(tmp_path):
    files = written(tmp_path)
    executable = [name for name, path in files.items() if os.access(path, os.X_OK)]
    assert executable == ["plugin.py"]


def test_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files = written(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "project").stat().st_mode & 0o777 == 0o750
    assert files["plugin.py"].stat().st_mode & 0o777 == 0o750
    assert files["plugin.json"].stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("language", scaffold.LANGUAGES)
@pytest.mark.parametrize("name", ["a", "a.b", "auto-reply", "1st", "_", "Plugin", "x" * 64, "a--"])
def test_no_placeholder_is_left_and_all_parses(tmp_path, name, language):
    files = written(tmp_path, name, language)
    for path in files.values():
        text = path.read_text().replace("`${os}` and `${arch}`", "")
        assert "${" not in text, path
    assert read_manifest(files["plugin.json"]).plugin == name
    for path in files.values():
        if path.suffix == ".py":
            ast.parse(path.read_text())


@pytest.mark.parametrize(
    ("name", "plugin_no"),
    [("x", "wk.plugin.x"), ("wk.plugin.x", "wk.plugin.x"), ("v.plugin.x", "v.plugin.x")],
)
def test_a_prefix_is_kept(tmp_path, name, plugin_no):
    files = written(tmp_path, name)
    assert json.loads(files["plugin.json"].read_text())["name"] == plugin_no


@pytest.mark.parametrize(
    ("plugin", "class_name"),
    [
        ("example", "Example"),
        ("auto-reply", "AutoReply"),
        ("camelCase", "CamelCase"),
        ("1st", "My1stPlugin"),
        ("___", "MyPlugin"),
        ("plugin", "MyPlugin"),
        ("context", "MyContext"),
        ("none", "MyNone"),
    ],
)
def test_class_names(tmp_path, plugin, class_name):
    assert f"class {class_name}(Plugin):" in written(tmp_path, plugin)["plugin.py"].read_text()


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "wk.plugin.", "x" * 65, "é"])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="expected 1 to"):
        create_project(name, tmp_path / "project", "python")
    assert list(tmp_path.iterdir()) == []


def test_unknown_language_names_the_known(tmp_path):
    with pytest.raises(ConfigError, match="'cobol'; expected one of: python, rust"):
        create_project("x", tmp_path / "project", "cobol")


def test_a_directory_with_files_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        create_project("x", tmp_path, "python")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "project").mkdir()
    assert "plugin.py" in written(tmp_path)


@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_what_is_not_a_directory_is_refused(tmp_path, kind):
    target = tmp_path / "project"
    if kind == "file":
        target.write_text("")
    else:
        target.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="not a directory"):
        create_project("x", target, "python")


def test_a_fault_halfway_leaves_nothing(tmp_path, monkeypatch):
    def fail_after_two(language, values, render=scaffold._render):
        files = render(language, values)
        yield next(files)
        yield next(files)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scaffold, "_render", fail_after_two)
    with pytest.raises(ConfigError, match="No space left"):
        create_project("x", tmp_path / "project", "python")
    assert list(tmp_path.iterdir()) == []


def test_the_rust_template_reads_json_as_the_example_does(request):
    example = request.config.rootpath / "examples/dev-rust/src/json.rs"
    if not example.exists():
        pytest.skip("the examples are not here")
    template = scaffold._TEMPLATES / "rust/src/json.rs"
    assert template.read_text() == example.read_text()
