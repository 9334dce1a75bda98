package lab

import (
	"encoding/json"
	"reflect"
)

// Schema returns the JSON schema (draft 2020-12) of lab.yaml, made of the types that Parse reads.
// What needs more than one member to judge, such as the name of a room that is none, only Parse
// finds.
func Schema() []byte {
	s := schemaOf(reflect.TypeFor[Lab]())
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "lab.yaml of Troy"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil // maps of texts and numbers always have JSON
	}
	return append(b, '\n')
}

func schemaOf(t reflect.Type) map[string]any {
	if s, ok := reflect.New(t).Interface().(scalar); ok {
		return s.schema()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		value := schemaOf(t.Elem())
		if t.Elem().Kind() == reflect.Pointer {
			value = map[string]any{"anyOf": []any{value, map[string]any{"type": "null"}}}
		}
		return map[string]any{"type": "object", "propertyNames": schemaOf(t.Key()), "additionalProperties": value}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return wholeSchema(formatNumber)
	case reflect.String:
		return map[string]any{"type": "string", "maxLength": 256}
	}
	return objectSchema(t)
}

func objectSchema(t reflect.Type) map[string]any {
	members, need := map[string]any{}, []any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		m := schemaOf(f.Type)
		m["description"] = f.Tag.Get("about")
		members[name] = m
		if f.Tag.Get("need") == "true" {
			need = append(need, name)
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": members}
	if len(need) > 0 {
		s["required"] = need
	}
	return s
}
