// Package unattend makes and judges answer files, by which the setup of Windows runs without
// questions.
//
// # Promises
//
// What Make writes holds no password, no key and no account. Secrets finds each filled element of a
// file that is one: a password of any name, a product key, the data of a domain join. Values of
// white space are placeholders, not secrets, and so is what Windows leaves where it deleted one. A
// file that is no XML is an error, not a file without secrets.
//
// # Known gaps
//
//   - Secrets in commands (net user NAME PASSWORD) and in comments are not found.
//   - That Windows takes these files was not tried; their elements are those of Microsoft's
//     reference.
package unattend

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"text/template"
	"unicode/utf8"
)

// Folders are those where the setup of a Windows on the disk looks for an answer file of that Name;
// the first that has one counts (Microsoft, Windows Setup Automation Overview). An image need not
// have the others, but always has the last.
var Folders = []string{`\Windows\Panther\Unattend`, `\Windows\Panther`, `\Windows\System32\Sysprep`}

// Name is that of an answer file.
const Name = "unattend.xml"

// Room is how much longer values may make a file, in bytes: a data block of djoin, which has a few
// thousand, fits with room to spare.
const Room = 16 << 10

// Padded is an answer file with spaces behind its end, so that longer values can be put into it where
// it lies. One that is not UTF-8 stays as it is: Troy puts nothing into it.
func Padded(b []byte) []byte {
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return b
	}
	return append(b[:len(b):len(b)], bytes.Repeat([]byte{' '}, Room)...)
}

// ErrAnswer is the class of answers that Windows could not understand.
var ErrAnswer = errors.New("wrong answer for the setup of Windows")

// Answers are those to the questions of setup. The zero value asks the person at the first start
// for everything but device encryption, which stays off.
type Answers struct {
	Language string // de-DE; it has to be in the image
	Keyboard string // 0407:00000407, or a language; "": that of the language
	TimeZone string // as Windows names it: W. Europe Standard Time
	Audit    bool   // start as the built-in administrator, before the first user is made
	// Join leaves an empty element for what djoin made of a PC. Each PC has to get its own before the
	// first start: what Windows does with an empty one is not known.
	Join bool
}

var (
	language = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$`)
	keyboard = regexp.MustCompile(`^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{8}(;[0-9A-Fa-f]{4}:[0-9A-Fa-f]{8})*$`)
	zone     = regexp.MustCompile(`^[A-Za-z0-9 .+()-]{2,64}$`)
)

func (a *Answers) check() error {
	switch {
	case a.Language != "" && !language.MatchString(a.Language):
		return fmt.Errorf("%w: language %q, want one like de-DE", ErrAnswer, a.Language)
	case a.Keyboard != "" && !keyboard.MatchString(a.Keyboard) && !language.MatchString(a.Keyboard):
		return fmt.Errorf("%w: keyboard %q, want one like 0407:00000407 or a language", ErrAnswer, a.Keyboard)
	case a.TimeZone != "" && !zone.MatchString(a.TimeZone):
		return fmt.Errorf("%w: time zone %q, want a name that tzutil /l prints, like W. Europe Standard Time", ErrAnswer, a.TimeZone)
	}
	return nil
}

// Input returns what Windows takes for the keyboard.
func (a *Answers) Input() string {
	if a.Keyboard == "" {
		return a.Language
	}
	return a.Keyboard
}

// file is written with spaces that nobody needs, so that people can read it on the disk.
var file = template.Must(template.New("unattend").Parse(`<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">
{{- define "component"}} processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"{{end}}
  <settings pass="specialize">
    <component name="Microsoft-Windows-Deployment"{{template "component"}}>
      <RunSynchronous>
        <RunSynchronousCommand wcm:action="add">
          <Order>1</Order>
          <Path>reg.exe add HKLM\SYSTEM\CurrentControlSet\Control\BitLocker /v PreventDeviceEncryption /t REG_DWORD /d 1 /f</Path>
        </RunSynchronousCommand>
      </RunSynchronous>
    </component>
    <component name="Microsoft-Windows-Shell-Setup"{{template "component"}}>
      <ComputerName>*</ComputerName>
{{- if .TimeZone}}
      <TimeZone>{{.TimeZone}}</TimeZone>
{{- end}}
    </component>
{{- if .Join}}
    <component name="Microsoft-Windows-UnattendedJoin"{{template "component"}}>
      <Identification>
        <Provisioning>
          <AccountData></AccountData>
        </Provisioning>
      </Identification>
    </component>
{{- end}}
  </settings>
{{- if or .Language .Keyboard .Audit}}
  <settings pass="oobeSystem">
{{- if or .Language .Keyboard}}
    <component name="Microsoft-Windows-International-Core"{{template "component"}}>
{{- if .Input}}
      <InputLocale>{{.Input}}</InputLocale>
{{- end}}
{{- if .Language}}
      <SystemLocale>{{.Language}}</SystemLocale>
      <UILanguage>{{.Language}}</UILanguage>
      <UserLocale>{{.Language}}</UserLocale>
{{- end}}
    </component>
{{- end}}
{{- if .Audit}}
    <component name="Microsoft-Windows-Deployment"{{template "component"}}>
      <Reseal>
        <Mode>Audit</Mode>
      </Reseal>
    </component>
{{- end}}
  </settings>
{{- end}}
</unattend>
`))

// Make writes an answer file, without spaces behind its end. The asterisk has Windows make up a name
// where a PC gets none. The error is of class ErrAnswer.
func Make(a *Answers) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := file.Execute(&b, a)
	return b.Bytes(), err
}
