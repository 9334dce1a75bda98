package web

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"troy/server/protocol"
	"troy/server/rooms"
	"troy/server/rooms/api"
	"troy/server/state"
)

// operation is one call of package rooms/api.
type operation struct {
	method, path, summary string
	query                 []string // names of parameters; with "!" at the end they are needed
	in, out               any
}

// operations is the table of package rooms/api.
func operations() []operation {
	return []operation{
		{"get", "status", "How the whole lab stands", nil, nil, rooms.Status{}},
		{"get", "hosts", "The machines of a room, or all", []string{"room"}, nil, []rooms.Host{}},
		{"get", "hosts/{id}", "One machine with its history and logs; id is a name, id, code, or a MAC address or UUID in any notation", nil, nil, api.HostDetail{}},
		{"get", "nights", "What came of the windows of the last days, the newest first", []string{"days"}, nil, []state.Night{}},
		{"get", "previous", "What a rollback would bring back", []string{"room!"}, nil, state.Target{}},
		{"get", "changes", "Waits for another revision than the one named, or 20 s", []string{"after"}, nil, api.Revision{}},
		{"post", "estimate", "What a promotion would take; changes nothing", nil, rooms.Promotion{}, rooms.Estimate{}},
		{"post", "promote", "Give a room a version", nil, rooms.Promotion{}, state.Target{}},
		{"post", "rollback", "Give a room back a version; version 0 is the one before", nil, rooms.Promotion{}, state.Target{}},
		{"post", "stop", "Let no further machine of a room begin; why \"\" lets them begin again", nil, api.Stop{}, struct{}{}},
		{"post", "assign", "Name the machine that shows a code", nil, api.Assign{}, struct{}{}},
		{"post", "confirm", "Note that a machine is the one with this pinned key", nil, api.Confirm{}, struct{}{}},
		{"post", "forget", "Drop what is known of a machine, or of all strangers", nil, api.Forget{}, api.Forgotten{}},
		{"post", "wake", "Send wake-up calls to a machine or a room", nil, api.Which{}, api.Woken{}},
		{"post", "reload", "Read lab.yaml now", nil, struct{}{}, struct{}{}},
	}
}

type object = map[string]any

// openAPI describes the calls in OpenAPI 3.1, with schemas made of the types themselves.
func openAPI() ([]byte, error) {
	s := &schemas{components: object{}}
	paths := object{}
	for _, op := range operations() {
		path := api.Prefix + op.path
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[op.method] = s.operation(&op)
	}
	return json.MarshalIndent(object{
		"openapi":  "3.1.0",
		"info":     object{"title": "Troy", "version": fmt.Sprint(protocol.Version), "description": "Calls for the admin of a lab. Times are RFC 3339, sizes bytes, durations seconds."},
		"security": []any{object{"token": []any{}}},
		"paths":    paths,
		"components": object{
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}},
			"schemas":         s.components,
		},
	}, "", " ")
}

func (s *schemas) operation(op *operation) object {
	failure := object{"description": "why not, in one line", "content": object{"application/json": object{"schema": s.of(reflect.TypeFor[protocol.Failure]())}}}
	o := object{"summary": op.summary, "operationId": strings.TrimSuffix(op.method+"-"+strings.ReplaceAll(op.path, "/{id}", "-one"), "/"), "responses": object{
		"200":     object{"description": "done", "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(op.out))}}},
		"default": failure,
	}}
	var parameters []any
	if strings.Contains(op.path, "{id}") {
		parameters = append(parameters, object{"name": "id", "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, q := range op.query {
		name := strings.TrimSuffix(q, "!")
		parameters = append(parameters, object{"name": name, "in": "query", "required": name != q, "schema": object{"type": "string"}})
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	if op.in != nil {
		o["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": s.of(reflect.TypeOf(op.in))}}}
	}
	return o
}

// schemas makes JSON Schema of Go types, as package internal/format writes them.
type schemas struct{ components object }

func (s *schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Struct && t.Name() != "":
		return s.named(t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.members(t)
	case reflect.Slice:
		return object{"type": []any{"array", "null"}, "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	}
	return object{"type": "integer"}
}

// named puts a struct among the components once and refers to it.
func (s *schemas) named(t reflect.Type) object {
	name := t.String()[strings.LastIndexByte(t.String(), '/')+1:]
	if s.components[name] == nil {
		s.components[name] = true // for types that hold themselves
		s.components[name] = s.members(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (s *schemas) members(t reflect.Type) object {
	properties, required := object{}, []any{}
	s.collect(t, properties, &required)
	return object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// collect adds the members of a struct and of those embedded in it.
func (s *schemas) collect(t reflect.Type, properties object, required *[]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-" || options == "embed": // members of a newer program
		case f.Anonymous && name == "":
			s.collect(f.Type, properties, required)
		default:
			properties[name] = s.of(f.Type)
			if !strings.Contains(options, "omit") {
				*required = append(*required, name)
			}
		}
	}
}
