"""Elements of HTML and SVG. Their texts are escaped when they are written."""

from collections.abc import Sequence
from importlib import resources
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Element | str


def element(tag: str, *children: Child, **attributes: object) -> Element:
    """Returns an element.

    Args:
        tag: Its name.
        *children: Elements and texts, in order.
        **attributes: Attributes by name; `_` stands for `-`, and `class_` for `class`. An attribute
            that is None is left out.
    """
    node = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            node.set(name.rstrip("_").replace("_", "-"), str(value))
    for child in children:
        if isinstance(child, Element):
            node.append(child)
        elif len(node):
            node[-1].tail = (node[-1].tail or "") + child
        else:
            node.text = (node.text or "") + child
    return node


def table(
    header: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str = "", texts: bool = False
) -> Element:
    """Returns a table whose first column names the rows, in a box that scrolls sideways.

    Args:
        header: Name of each column.
        rows: Cells of each row.
        caption: Caption of the table; "" (default): none.
        texts: Whether the cells are long texts. Default False: short ones, such as numbers.
    """
    head = element("tr", *(element("th", one, scope="col") for one in header))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", one) for one in row[1:]))
        for row in rows
    ]
    parts = [element("thead", head), element("tbody", *body)]
    if caption:
        parts.insert(0, element("caption", caption))
    box = {
        "class_": "wide texts" if texts else "wide",
        "tabindex": 0,
        "role": "region",
        "aria_label": caption or "table",
    }
    return element("div", element("table", *parts), **box)


def document(title: str, beginning: str, *children: Child) -> str:
    """Returns a page that needs no other file.

    Args:
        title: Its title.
        beginning: First lines of the file, which identify the command that wrote the page.
        *children: Content of its body.
    """
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    root = element("html", head, element("body", *children), lang="en")
    return f"{beginning}\n{ElementTree.tostring(root, encoding='unicode', method='html')}\n"
