// Checks queries with Microsoft's own Kusto compiler.
//
// stdin:  {"modules": folder, "tables": {table: [[column, type], ...]}, "queries": {id: text}}
// stdout: {id: {"errors": ["line 2: ..."], "columns": [[name, type], ...]}}
"use strict";

const fs = require("fs");
const path = require("path");

const input = JSON.parse(fs.readFileSync(0, "utf8"));
const library = path.join(input.modules, "@kusto", "language-service-next");
// Both files are scripts for a browser: they find each other through the global object, in this order.
require(path.join(library, "bridge.js"));
require(path.join(library, "Kusto.Language.Bridge.js"));

const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language;

function bracketed(name) {
  return `['${name}']`;
}

function globalState(tables) {
  const symbols = Object.entries(tables).map(([name, columns]) => {
    const schema = columns.map(([column, type]) => `${bracketed(column)}: ${type}`).join(", ");
    return new Symbols.TableSymbol.$ctor7(name, `(${schema})`, null);
  });
  const database = new Symbols.DatabaseSymbol.ctor("workspace", symbols);
  const cluster = new Symbols.ClusterSymbol.ctor("cluster", [database]);
  return GlobalState.Default.WithCluster(cluster).WithDatabase(database);
}

function items(list) {
  const count = System.Array.getCount(list);
  return Array.from({ length: count }, (_, index) => System.Array.getItem(list, index));
}

function check(text, state) {
  const code = KustoCode.ParseAndAnalyze(text, state);
  const errors = items(code.GetDiagnostics())
    .filter((diagnostic) => diagnostic.Severity === "Error")
    .map((diagnostic) => {
      const line = text.slice(0, diagnostic.Start).split("\n").length;
      return `line ${line}: ${diagnostic.Message}`;
    });
  const result = code.ResultType;
  const columns = result && result.Columns ? items(result.Columns).map((c) => [c.Name, c.Type.Name]) : [];
  return { errors, columns };
}

const state = globalState(input.tables);
const results = {};
for (const [id, text] of Object.entries(input.queries)) {
  results[id] = check(text, state);
}
fs.writeFileSync(1, JSON.stringify(results));
