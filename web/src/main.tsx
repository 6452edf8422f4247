// The start: draw, follow the node, make links work.

import { render } from "preact";
import { App } from "./app";
import { follow } from "./live";
import { followLinks } from "./route";

followLinks();
follow();
render(<App />, document.getElementById("app")!);
