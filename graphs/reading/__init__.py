"""How a file becomes a Graph: containers, the two JSON formats, and what only exists in the browser.

Order of the UI way: ui_format (normalise) -> group_nodes, subgraphs (flatten) -> everywhere (invisible links) ->
widgets (values by name) -> links (follow reroutes, bypasses, primitives) -> Graph.
"""
