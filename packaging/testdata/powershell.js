// Takes a PowerShell script apart: powershell.js FOLDER, with the parser of the folder and the
// script on standard input. Prints JSON: where it is no PowerShell, what each function and the script
// outside of functions use, and under which condition the script outside of functions uses it.
const path = require("path");
const folder = path.resolve(process.argv[2]);
const { Parser, Language } = require(path.join(folder, "tree-sitter.js"));

const faults = (node) =>
  node.isError || node.isMissing
    ? [`line ${node.startPosition.row + 1}, column ${node.startPosition.column + 1}`]
    : node.hasError ? node.children.flatMap(faults) : [];

// A command by its name, "& EXPRESSION" for one whose name is computed, or a static method.
function use(node) {
  if (node.type === "command") {
    const [first, second] = node.namedChildren;
    return first.type === "command_invokation_operator" ? `& ${second.text}` : first.text.split(/\s/)[0];
  }
  return node.text.replace(/\(.*/s, "");
}

function uses(node, inner) {
  return node.descendantsOfType(["command", "invokation_expression"])
    .filter((n) => inner(n) && (n.type === "command" || n.text.startsWith("[")))
    .map((n) => ({ name: use(n), condition: condition(n) }));
}

// What the nearest if or elseif around it asks, "" if there is none.
function condition(node) {
  for (let n = node.parent; n; n = n.parent) {
    if (n.type === "else_clause") return "else";
    if (n.type === "elseif_clause" || n.type === "if_statement") {
      return n.namedChildren[0].text;
    }
  }
  return "";
}

function within(node) {
  for (let n = node.parent; n; n = n.parent) {
    if (n.type === "function_statement") return n;
  }
  return null;
}

(async () => {
  await Parser.init();
  const parser = new Parser();
  parser.setLanguage(await Language.load(path.join(folder, "tree-sitter-powershell.wasm")));
  const root = parser.parse(require("fs").readFileSync(0, "utf8")).rootNode;
  const functions = root.descendantsOfType("function_statement").map((f) => ({
    name: f.descendantsOfType("function_name")[0].text,
    commented: f.previousSibling !== null && f.previousSibling.type === "comment",
    uses: uses(f, () => true),
  }));
  const outside = uses(root, (n) => within(n) === null);
  console.log(JSON.stringify({ faults: faults(root), functions, outside }));
})();
