package prepare

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"troy/image/unattend"
	"troy/trial/inside"
)

const (
	// Account is the local account of a trial. It has no password.
	Account = "trial"
	// ComputerName is the name of a Windows that setup has finished and no agent has renamed.
	ComputerName = "TROY-TRIAL"
	// DefaultLanguage is that of an answer file that names none.
	DefaultLanguage = "en-US"
)

var language = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$`)

// letters are those of the drives that may hold the trial's disc.
var letters = strings.Split("CDEFGHIJKLMNOPQRSTUVWXYZ", "")

// firstLogon runs the script of the disc, whichever drive that is in.
func firstLogon() string {
	return fmt.Sprintf(`cmd.exe /c for %%i in (%s) do if exist %%i:\%s call %%i:\%s`, strings.Join(letters, " "), inside.ScriptFile, inside.ScriptFile)
}

// answerFile is filled in with the language, the names and the command of the first logon.
var answerFile = template.Must(template.New("trial").Parse(`<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">
{{- define "component"}} processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"{{end}}
  <settings pass="specialize">
    <component name="Microsoft-Windows-Deployment"{{template "component"}}>
      <RunSynchronous>
{{- range $i, $c := .Commands}}
        <RunSynchronousCommand wcm:action="add">
          <Order>{{$i}}</Order>
          <Path>{{html $c}}</Path>
        </RunSynchronousCommand>
{{- end}}
      </RunSynchronous>
    </component>
    <component name="Microsoft-Windows-Shell-Setup"{{template "component"}}>
      <ComputerName>{{.ComputerName}}</ComputerName>
      <TimeZone>UTC</TimeZone>
    </component>
  </settings>
  <settings pass="oobeSystem">
    <component name="Microsoft-Windows-International-Core"{{template "component"}}>
      <InputLocale>{{.Language}}</InputLocale>
      <SystemLocale>{{.Language}}</SystemLocale>
      <UILanguage>{{.Language}}</UILanguage>
      <UserLocale>{{.Language}}</UserLocale>
    </component>
    <component name="Microsoft-Windows-Shell-Setup"{{template "component"}}>
      <OOBE>
        <HideEULAPage>true</HideEULAPage>
        <HideLocalAccountScreen>true</HideLocalAccountScreen>
        <HideOEMRegistrationScreen>true</HideOEMRegistrationScreen>
        <HideOnlineAccountScreens>true</HideOnlineAccountScreens>
        <HideWirelessSetupInOOBE>true</HideWirelessSetupInOOBE>
        <ProtectYourPC>3</ProtectYourPC>
      </OOBE>
      <TimeZone>UTC</TimeZone>
      <UserAccounts>
        <LocalAccounts>
          <LocalAccount wcm:action="add">
            <Name>{{.Account}}</Name>
            <Group>Administrators</Group>
            <Password>
              <Value></Value>
              <PlainText>true</PlainText>
            </Password>
          </LocalAccount>
        </LocalAccounts>
      </UserAccounts>
      <AutoLogon>
        <Enabled>true</Enabled>
        <Username>{{.Account}}</Username>
        <Password>
          <Value></Value>
          <PlainText>true</PlainText>
        </Password>
        <LogonCount>1</LogonCount>
      </AutoLogon>
      <FirstLogonCommands>
        <SynchronousCommand wcm:action="add">
          <Order>1</Order>
          <CommandLine>{{html .FirstLogon}}</CommandLine>
        </SynchronousCommand>
      </FirstLogonCommands>
    </component>
  </settings>
</unattend>
`))

// specialize are commands that run before the first start of the desktop: no encryption of the disk
// by itself, no page that asks for a network, and no shutdown that leaves a volume in use.
func specialize() map[int]string {
	const add = `reg.exe add HKLM\`
	return map[int]string{
		1: add + `SYSTEM\CurrentControlSet\Control\BitLocker /v PreventDeviceEncryption /t REG_DWORD /d 1 /f`,
		2: add + `SOFTWARE\Microsoft\Windows\CurrentVersion\OOBE /v BypassNRO /t REG_DWORD /d 1 /f`,
		3: add + `"SYSTEM\CurrentControlSet\Control\Session Manager\Power" /v HiberbootEnabled /t REG_DWORD /d 0 /f`,
		4: `powercfg.exe /hibernate off`,
	}
}

// Answer makes the answer file of a trial for the setup of Windows 10 or 11 in a language of the
// image; "" is DefaultLanguage. Setup asks nothing and needs no network, and the first logon runs
// the script of the trial's disc.
func Answer(lang string) ([]byte, error) {
	lang = cmp.Or(lang, DefaultLanguage)
	if !language.MatchString(lang) {
		return nil, fmt.Errorf("%w: language %q, want one like de-DE", unattend.ErrAnswer, lang)
	}
	var b bytes.Buffer
	err := answerFile.Execute(&b, struct {
		Language, ComputerName, Account, FirstLogon string
		Commands                                    map[int]string
	}{lang, ComputerName, Account, firstLogon(), specialize()})
	return b.Bytes(), err
}
